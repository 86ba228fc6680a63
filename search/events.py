"""TensorBoard event files beside the ledger: `tensorboard --logdir EXPERIMENT/tensorboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune
from tensorboardX import SummaryWriter

from search.experiment import Experiment
from search.plan import ReportedTrials, trials_of


class TensorBoardEvents(tune.Callback):
    """Writes each trial's curves, under a folder named like the trial."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder
        self.reported = ReportedTrials(experiment)
        self.writers: dict[str, SummaryWriter] = {}

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["kind"] == "end":
            return
        known = self.reported(trial.config, result)
        if known.trial_id not in self.writers:
            name = f"{known.label.replace(' ', ',')}-{known.trial_id[:6]}"
            self.writers[known.trial_id] = SummaryWriter(str(self.folder / "tensorboard" / name))
        writer = self.writers[known.trial_id]
        if result["kind"] == "progress":
            writer.add_scalar("train/loss_nats", result["train_loss_nats"], result["step"])
            return
        for tag in ("train_loss_nats", "val_loss_nats", "lr"):
            writer.add_scalar(f"epoch/{tag}", result[tag], result["epoch"])

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        for known in trials_of(self.experiment, trial.config):
            writer = self.writers.pop(known.trial_id, None)
            if writer is not None:
                writer.close()

    def close(self) -> None:
        """Write out what is left, for trials that did not end."""
        for writer in self.writers.values():
            writer.close()
