"""The calls by which a training run reports while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minigpt_search.model.records import EpochRecord, RungRecord, TrialCurve


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, told about once a second."""

    step: int
    """Optimizer steps done."""
    total_steps: int
    """Optimizer steps of the whole run."""
    train_loss_nats: float
    """Mean training loss a token over the epoch so far."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions that `train` calls as it goes. An exception from one leaves `train`; the run goes
    on from its last checkpoint when it is started again."""

    on_start: Callable[[int], None] = lambda step: None
    """Before the first step, with the number of those that were done before: 0, or as many as the
    checkpoint has."""
    on_progress: Callable[[Progress], None] = lambda progress: None
    """About once a second, and before each evaluation and checkpoint."""
    on_curve: Callable[[TrialCurve], None] = lambda curve: None
    """With all points so far, before `on_progress`, and after a point of validation: before the
    epoch's or rung's own call, if it is one."""
    on_epoch: Callable[[EpochRecord], None] = lambda record: None
    """After an epoch's evaluation, with its record."""
    on_rung: Callable[[RungRecord], bool] = lambda record: False
    """After a validation on the way, with its record; True ends the run there, with the status
    `stopped`."""
    on_checkpoint: Callable[[Path], None] = lambda path: None
    """After a step checkpoint was written, with its file; a branch's too
    (`model/training/trunk.py`)."""
