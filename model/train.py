"""Training: one configuration, one corpus, epoch records out. It knows nothing of Ray.

A run that is stopped at any checkpoint and started again ends with the same bits (CPU, same
number of threads).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.corpus import Corpus
from model.config import RunConfig
from model.device import describe_device
from model.hooks import Hooks, Progress
from model.loop import Diverged, Run
from model.records import COMPLETE, DIVERGED, CheckpointRef, Device, EpochRecord, Timing

__all__ = ["Hooks", "Progress", "TrainResult", "train"]

CHECKPOINT_EVERY_SECONDS = 45.0
"""A kill costs at most this much training. Its checkpoints and the final weights took less than
1% of a trial of two minutes (docs/results/lr-quick: `checkpointing_seconds`)."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    status: str
    """complete or diverged."""
    error: str | None
    """Why it diverged."""
    epochs: tuple[EpochRecord, ...]
    steps: int
    timing: Timing
    device: Device
    checkpoint: CheckpointRef | None
    """The final weights, its path relative to `checkpoint_dir`; None without one."""


def train(
    config: RunConfig,
    corpus: Corpus,
    *,
    device: str = "cpu",
    checkpoint_dir: Path | None = None,
    checkpoint_every_seconds: float = CHECKPOINT_EVERY_SECONDS,
    hooks: Hooks | None = None,
) -> TrainResult:
    """Train `config` on `corpus` to its end, going on from the newest checkpoint if there is one.

    Sets torch's global random state. Raises `UserError` for a configuration that this corpus
    can't serve; a non-finite loss or gradient is a result (status `diverged`), not an exception.
    """
    run = Run(config, corpus, device, checkpoint_dir, checkpoint_every_seconds, hooks or Hooks())
    error = None
    try:
        while len(run.position.epochs) < config.train.epochs:
            run.train_epoch()
    except Diverged as reason:
        error = str(reason)
    final = None if error else run.save_final()  # before the timing is read: it takes part in it
    return TrainResult(
        status=DIVERGED if error else COMPLETE,
        error=error,
        epochs=tuple(run.position.epochs),
        steps=run.position.steps,
        timing=run.position.timing,
        device=describe_device(device),
        checkpoint=final,
    )
