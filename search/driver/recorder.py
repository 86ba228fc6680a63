"""The ledger's one writer: copies each ended trial's outcome into it, as the driver hears of it."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray import tune
from tqdm import tqdm

from minigpt_search.model.config import trial_id
from minigpt_search.model.records import FAILED
from minigpt_search.search.driver.disk_limit import DiskLimit
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import (
    clean,
    read_outcome,
    read_started,
    trial_folder,
)
from minigpt_search.search.sync.mirror import Mirror
from minigpt_search.search.trials.groups import rung_beside
from minigpt_search.search.trials.reports import MEMBER_END, NO_STORAGE, RETIRES
from minigpt_search.search.trials.trial import ReportedTrials, Trial, trials_of
from minigpt_search.search.worker.trial_record import make_record


class Recorder(tune.Callback):
    """Appends to the ledger when a trial ends, whichever way."""

    def __init__(
        self, experiment: Experiment, folder: Path, ledger: Ledger, mirror: Mirror | None = None
    ) -> None:
        self.experiment, self.folder, self.ledger = experiment, folder, ledger
        self.mirror = mirror or Mirror()
        self.disk = DiskLimit(experiment, folder, ledger)
        self.reported = ReportedTrials(experiment)
        self.said = {note for record in ledger.trials for note in record.notes}

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["kind"] == RETIRES and trial.max_failures >= 0:  # below 0 none is too many
            trial.max_failures += 1
        if result["kind"] == MEMBER_END:
            self._record(self.reported(trial.config, result), "its process left no outcome")
            self.disk.enforce()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if (trial.last_result or {}).get("status") == NO_STORAGE:
            return  # it has not ended: it goes on when the search is resumed
        for known in trials_of(self.experiment, trial.config):
            self._record(known, "its process left no outcome")
            self.reported.forget(known)
        self.disk.enforce()

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial's process was lost more often than Tune was told to bear."""
        reason = f"its process was lost or failed {trial.num_failures} times"
        for known in trials_of(self.experiment, trial.config):
            # A worker that ended itself has left what was the matter.
            if not self._record(known, reason) and trial.error_file is not None:
                log = trial_folder(self.folder, known.trial_id) / "error.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_bytes(Path(trial.error_file).read_bytes())
                self.mirror.push_trial(log)

    def _record(self, trial: Trial, lost: str) -> bool:
        """Append the trial's outcome, or that it was `lost`; whether its worker has left a
        cause."""
        folder = trial_folder(self.folder, trial.trial_id)
        self.mirror.fetch_trial(trial.trial_id)
        record, fault = read_outcome(folder), None
        left = record is not None
        if record is None:
            started = read_started(folder)
            attempts = len(started.starts) if started else 1
            fault = started.starts[-1].fault if started and started.starts else None
            error = f"{lost}: {fault}" if fault else lost
            record = make_record(trial, error, attempts, self.experiment.machine.device)
        # A branch that failed is known from its own report.
        known = record == self.ledger.newest(record.trial_id)
        if not self.ledger.has_ended(record.trial_id) and not known:
            self.ledger.append(record)
            say_notes(record, self.said)
        if record.status != FAILED:  # a failed one may go on from its checkpoint
            clean(folder)
        return left or fault is not None


def drop_branches(
    experiment: Experiment, folder: Path, ledger: Ledger, mirror: Mirror, due: Iterable[Trial]
) -> None:
    """Delete what a ladder's runs left for longer ones that are not to be: those of rungs that are
    over. `due` is what is trained next, nothing at the end."""
    now = min((trial.config.train.tokens_per_epoch or 0 for trial in due), default=math.inf)
    for trial in ledger.trials:
        longer = rung_beside(experiment, trial.config, 1)
        if longer is None or (longer.train.tokens_per_epoch or 0) >= now:
            continue
        name = trial_id(longer, experiment.corpus.content_hash)
        if ledger.newest(name) is None:
            mirror.forget_checkpoints(name)
            shutil.rmtree(trial_folder(folder, name), ignore_errors=True)


def say_notes(record: TrialRecord, said: set[str]) -> None:
    """Say what a trial went without, unless one before it did, of which all is in `said`: its
    worker's words go to a file that nobody reads."""
    for note in record.notes:
        if note not in said:
            said.add(note)
            tqdm.write(f"  {record.trial_id}: {note}", file=sys.stderr)


def collect_outcomes(folder: Path, ledger: Ledger) -> None:
    """Copy into the ledger what a killed driver left uncopied, and finish its cleaning."""
    said = {note for record in ledger.trials for note in record.notes}
    for path in sorted((folder / "checkpoints").glob("*/outcome.json")):
        if ledger.has_ended(path.parent.name):
            clean(path.parent)
            continue
        record = read_outcome(path.parent)
        if record is None:
            continue
        known = record == ledger.newest(record.trial_id)
        if not known and not ledger.has_ended(record.trial_id):
            ledger.append(record)
            say_notes(record, said)
        if record.status != FAILED:
            clean(path.parent)
