"""TensorBoard event files beside the ledger: `tensorboard --logdir EXPERIMENT/tensorboard`.

Written by the file format's own parts in tensorboardX, without its `SummaryWriter`: that has a
thread and a bounded queue for each file, and once the thread has met a full disk the queue fills
and the search would wait for ever.
"""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ray import tune
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.trials.trial import ReportedTrials, trials_of


class EventFile:
    """One file of scalars. Where it can't be written there are no curves, and that is all."""

    def __init__(self, folder: Path) -> None:
        self.file: BinaryIO | None = None
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"events.out.tfevents.{time.time():.6f}"
            self.file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by `close`
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, tag: str, value: float, step: int) -> None:
        """Append one point."""
        summary = scalar(tag, value)
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

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
    """Writes each trial's curves, under a folder named like the trial."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder
        self.reported = ReportedTrials(experiment)
        self.files: dict[str, EventFile] = {}

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        kind = result["kind"]
        if kind not in ("progress", "rung", "epoch"):  # an end repeats the last of them
            return
        known = self.reported(trial.config, result)
        if known.trial_id not in self.files:
            label = trial_label(self.experiment, known.config, known.replicate)
            name = f"{label.replace(', ', ',').replace(' ', ',')}-{known.trial_id[:6]}"
            self.files[known.trial_id] = EventFile(self.folder / "tensorboard" / name)
        file = self.files[known.trial_id]
        if kind == "progress":
            file.add("train/loss_nats", result["train_loss_nats"], result["step"])
        elif kind == "rung":
            file.add("rung/val_loss_nats", result["val_loss_nats"], result["step"])
        else:
            for tag in ("train_loss_nats", "val_loss_nats", "lr"):
                file.add(f"epoch/{tag}", result[tag], result["epoch"])

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        for known in trials_of(self.experiment, trial.config):
            file = self.files.pop(known.trial_id, None)
            if file is not None:
                file.close()
            self.reported.forget(known)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)

    def close(self) -> None:
        """Close what is left, of trials that did not end."""
        for file in self.files.values():
            file.close()
