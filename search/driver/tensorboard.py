"""TensorBoard event files beside the ledger: `tensorboard --logdir EXPERIMENT/tensorboard`.

By step: training loss, gradient norm and learning rate at the curve's points, and validation loss.
A complete trial is a row of the HParams tab: its values, and `val/loss_nats`, which ends with the
final loss.

Written by the file format's own parts in tensorboardX, without its `SummaryWriter`: that has a
thread and a bounded queue for each file, and once the thread has met a full disk the queue fills
and the search would wait for ever.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ray import tune
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams

from minigpt_search.model.records import COMPLETE, TrialCurve
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import ReportedTrials, Trial, trials_of

VAL_LOSS = "val/loss_nats"


class EventFile:
    """One file of scalars. Where it can't be written there are no curves, and that is all."""

    def __init__(self, folder: Path) -> None:
        self.file: BinaryIO | None = None
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"events.out.tfevents.{time.time():.6f}"
            self.file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by `close`
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Append a point of each of these curves, by tag."""
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def restart(self, step: int) -> None:
        """Have readers drop what was written for `step` and later, here or by a driver before."""
        session = SessionLog(status=SessionLog.SessionStatus.Value("START"))
        self._write(Event(wall_time=time.time(), step=step, session_log=session))

    def add_hparams(self, values: Mapping[str, Any], metric: str) -> None:
        """Make the run a row of the HParams tab, whose metric is the last point of this tag."""
        for summary in hparams(dict(values), {metric: 0.0}):
            self._write(Event(wall_time=time.time(), summary=summary))

    def _write(self, event: Event) -> None:
        if self.file is None:
            return
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        checked = [part + struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        try:
            self.file.write(b"".join(checked))
        except OSError:
            self.close()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class TensorBoardEvents(tune.Callback):
    """Writes each trial's curves, under a folder named like the trial.

    It comes after the recorder: at a trial's end its record is in `ledger`.
    """

    def __init__(self, experiment: Experiment, folder: Path, ledger: Ledger) -> None:
        self.experiment, self.folder, self.ledger = experiment, folder, ledger
        self.reported = ReportedTrials(experiment)
        self.files: dict[str, EventFile] = {}
        self.last_steps: dict[str, tuple[int, int]] = {}
        """By trial id the last steps of training and validation that its file has."""

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        kind = result["kind"]
        if kind == MEMBER_END:
            self._end(self.reported(trial.config, result))
        if kind not in ("progress", "rung", "epoch"):  # an end repeats the last of them
            return
        known = self.reported(trial.config, result)
        self._add(known, result.get("curve") or TrialCurve())
        if kind != "progress":  # one that is no point of the curve too
            self._add_validation(known.trial_id, result["step"], result["val_loss_nats"])

    def _add(self, trial: Trial, new: TrialCurve) -> None:
        """Append new points. Those of a trial that goes on from a checkpoint come again, and the
        file's own are then void."""
        name = trial.trial_id
        if name not in self.files:
            self.files[name] = EventFile(self._run_folder(trial))
            self.files[name].restart(0)
            self.last_steps[name] = 0, 0
        file, (last, _) = self.files[name], self.last_steps[name]
        if new.steps and new.steps[0] <= last:
            file.restart(new.steps[0])
            self.last_steps[name] = 0, min(self.last_steps[name][1], new.steps[0] - 1)
        for n, step in enumerate(new.steps):
            values = {
                "train/loss_nats": new.train_loss_nats[n],
                "train/grad_norm": new.grad_norm[n],
                "train/lr": new.lr[n],
            }
            file.add(values, step)
            self.last_steps[name] = step, self.last_steps[name][1]
        for step, loss in zip(new.val_steps, new.val_loss_nats, strict=True):
            self._add_validation(name, step, loss)

    def _add_validation(self, name: str, step: int, loss: float) -> None:
        last, last_validated = self.last_steps[name]
        if step > last_validated:
            self.files[name].add({VAL_LOSS: loss}, step)
            self.last_steps[name] = last, step

    def _run_folder(self, trial: Trial) -> Path:
        label = trial_label(self.experiment, trial.config, trial.replicate)
        name = f"{label.replace(', ', ',').replace(' ', ',')}-{trial.trial_id[:6]}"
        return self.folder / "tensorboard" / name

    def _end(self, trial: Trial) -> None:
        file = self.files.pop(trial.trial_id, None)
        self.last_steps.pop(trial.trial_id, None)
        record = self.ledger.newest(trial.trial_id)
        if file is None:
            return
        if record is not None and record.status == COMPLETE:
            # As text: nine digits of a number would be shown as 7.3416e+8.
            seed = str(trial.config.train.seed)
            file.add_hparams({**trial.values, "seed": seed}, VAL_LOSS)
        file.close()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        for known in trials_of(self.experiment, trial.config):
            self._end(known)
            self.reported.forget(known)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)

    def close(self) -> None:
        """Close what is left, of trials that did not end."""
        for file in self.files.values():
            file.close()
