"""How a training run tells of itself while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minigpt_search.model.records import EpochRecord, RungRecord


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is, about once a second."""

    step: int
    """Optimizer steps done."""
    total_steps: int
    train_loss_nats: float
    """Mean over the epoch so far."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Called by `train` as it goes; an exception from one ends the run at its last checkpoint."""

    on_start: Callable[[int], None] = lambda step: None
    """Before the first step, with the number of those that were done before: 0, or as many as the
    checkpoint has."""
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[EpochRecord], None] = lambda record: None
    on_rung: Callable[[RungRecord], bool] = lambda record: False
    """True ends the run there, with the status `stopped`."""
    on_checkpoint: Callable[[Path], None] = lambda path: None
    """After a step checkpoint was written, with its file; a branch's too
    (`model/training/trunk.py`)."""
