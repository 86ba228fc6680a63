"""The ledger's one writer: copies each ended trial's outcome into it, as the driver hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune

from model.records import FAILED
from search.disk import DiskLimit
from search.experiment import Experiment
from search.ledger import Ledger
from search.plan import Trial, trials_of
from search.trainable import make_record
from search.trial_folder import read_outcome, read_started, trial_folder


class Recorder(tune.Callback):
    """Appends to the ledger when a trial ends, whichever way."""

    def __init__(self, experiment: Experiment, folder: Path, ledger: Ledger) -> None:
        self.experiment, self.folder, self.ledger = experiment, folder, ledger
        self.disk = DiskLimit(experiment, folder, ledger)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        for known in trials_of(self.experiment, trial.config):
            self._record(known)
        self.disk.enforce()

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The trial's process was lost more often than Tune was told to bear."""
        self.on_trial_complete(iteration, trials, trial)

    def _record(self, trial: Trial) -> None:
        folder = trial_folder(self.folder, trial.trial_id)
        record = read_outcome(folder)
        if record is None:
            started = read_started(folder)
            attempts = started["attempts"] if started else 1
            error = f"its process was lost (started {attempts} times)"
            record = make_record(trial, error, attempts, self.experiment.device)
        if record.trial_id not in self.ledger.ended():
            self.ledger.append(record)


def collect_outcomes(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Copy into the ledger what a killed driver left uncopied."""
    for path in sorted((folder / "checkpoints").glob("*/outcome.json")):
        record = read_outcome(path.parent)
        if record is None or record.trial_id in ledger.ended():
            continue
        if record.status != FAILED or record not in ledger.trials:
            ledger.append(record)
