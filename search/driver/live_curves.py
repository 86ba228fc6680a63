"""What is known of each trial that runs, in files that others can read: `live/TRIAL.json`.

A file is replaced whole, so that a reader never sees half of one, and has all points so far: it
grows to some 6 kB, however long the trial is. The points come with the workers' reports, also from
other machines. When a trial ends its file goes: the ledger has all. What a killed driver left goes
when the next one begins.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from tqdm import tqdm

from minigpt_search.model.records import TrialCurve
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.live import FOLDER
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import ReportedTrials, Trial, trials_of

SOONEST_SECONDS = 1.0
"""Between two writes of a trial's file: its epochs can be shorter."""
_NOW = ("step", "total_steps", "train_loss_nats", "val_loss_nats", "epoch")
"""What of a report replaces what the file had."""


class LiveCurves(tune.Callback):
    """Keeps a file for each trial that runs. Where it can't be written this is said once, and the
    search goes on."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder / FOLDER
        self.reported = ReportedTrials(experiment)
        self.running: dict[str, dict[str, Any]] = {}
        """By trial id what its file is to hold."""
        self.curves: dict[str, TrialCurve] = {}
        self.written: dict[str, float] = {}
        """When each file was last written, in seconds of `time.monotonic`."""
        self.failed = False
        shutil.rmtree(self.folder, ignore_errors=True)

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        """Tune pickles its callbacks into a file that nobody reads."""
        return tune.Callback, ()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["kind"] == MEMBER_END:
            self._forget(self.reported(trial.config, result))
        if result["kind"] not in ("progress", "rung", "epoch"):
            return
        known = self.reported(trial.config, result)
        name = known.trial_id
        if name not in self.running:
            self.running[name] = self._begun(known)
        self.running[name] |= {key: result[key] for key in _NOW if key in result}
        new = result.get("curve") or TrialCurve()
        self.curves[name] = self.curves.get(name, TrialCurve()).then(new)
        if time.monotonic() - self.written.get(name, -SOONEST_SECONDS) >= SOONEST_SECONDS:
            self._write(name)

    def _begun(self, trial: Trial) -> dict[str, Any]:
        return {
            "trial_id": trial.trial_id,
            "trial": trial_label(self.experiment, trial.config, trial.replicate),
            "values": trial.values,
            "replicate": trial.replicate,
            "epochs": trial.config.train.epochs,
            "first_report_at": _now(),
        }

    def _write(self, name: str) -> None:
        self.written[name] = time.monotonic()
        content = self.running[name] | {
            "reported_at": _now(),
            "curve": vars(self.curves[name]),
        }
        path = self.folder / f"{name}.json"
        temporary = path.with_suffix(".tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Not synchronised: after a power cut nobody needs it.
            temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
            os.replace(temporary, path)
        except OSError as error:
            if not self.failed:
                self.failed = True
                text = f"  {path} can't be written ({error.strerror or error}): the search goes on"
                tqdm.write(f"{text}, without the curves of running trials", file=sys.stderr)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        for known in trials_of(self.experiment, trial.config):
            self._forget(known)
            self.reported.forget(known)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)

    def _forget(self, trial: Trial) -> None:
        for kept in (self.running, self.curves, self.written):
            kept.pop(trial.trial_id, None)
        for suffix in ("json", "tmp"):
            with suppress(OSError):
                (self.folder / f"{trial.trial_id}.{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the files of trials that did not end: they no longer run."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
