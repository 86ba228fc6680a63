"""Training: one configuration, one corpus, epoch records out. It knows nothing of Ray.

A run that is stopped at any checkpoint and started again ends with the same bits (CPU, same
number of threads). A run in a pack (`train_packed`) has the curve of the same run alone, but for
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import describe_device
from minigpt_search.model.records import (
    COMPLETE,
    DIVERGED,
    STOPPED,
    CheckpointRef,
    Device,
    DocumentLosses,
    EpochRecord,
    RungRecord,
    Timing,
    TrialCurve,
)
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.loop import Diverged, Run, Stopped
from minigpt_search.model.training.packed_loop import PackedRun

__all__ = ["Hooks", "Progress", "TrainResult", "train", "train_packed"]

CHECKPOINT_EVERY_SECONDS = 45.0
"""A kill costs at most this much training. Its checkpoints and the final weights took less than
1% of a trial of two minutes (docs/results/lr-quick: `checkpointing_seconds`)."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    status: str
    """COMPLETE, STOPPED or DIVERGED (`model.records`)."""
    error: str | None
    """Why it diverged; None if it did not."""
    epochs: tuple[EpochRecord, ...]
    """The records of the epochs that are over."""
    steps: int
    """Optimizer steps done; of a run that diverged, up to the step at which it did."""
    timing: Timing
    """Where its seconds went, those of earlier starts included."""
    device: Device
    """What the run was computed on."""
    checkpoint: CheckpointRef | None
    """The final weights, its path relative to `checkpoint_dir`; None without one."""
    pack: int = 1
    """How many runs were trained together; the timing is the pack's."""
    trunk_steps: int = 0
    """How many of `steps` another run took for it (`model/training/trunk.py`)."""
    trunk_seconds: float = 0.0
    """How many seconds of `timing` those took: the timing is that of the whole run from its
    start."""
    rungs: tuple[RungRecord, ...] = ()
    """Validations on the way, in the order of their steps."""
    curve: TrialCurve = field(default_factory=TrialCurve)
    """Points of training and validation by step."""
    val_documents: DocumentLosses | None = None
    """The last epoch's validation loss by document; None where the corpus doesn't say which token
    is of which."""
    train_eval_loss_nats: float | None = None
    """The loss on text that it trained on, scored at the end without dropout
    (`model/scoring/training_windows.py`); None where that was not asked for."""
    notes: tuple[str, ...] = ()
    """What it went without (`model/notes.py`)."""


def train(
    config: RunConfig,
    corpus: Corpus,
    *,
    device: str = "cpu",
    checkpoint_dir: Path | None = None,
    checkpoint_every_seconds: float = CHECKPOINT_EVERY_SECONDS,
    hooks: Hooks | None = None,
    rungs: bool = False,
    score_training: bool = False,
) -> TrainResult:
    """Train `config` on `corpus` to its end, going on from the newest checkpoint if there is one.

    Sets torch's global random state. Raises `UserError` for a configuration that this corpus can't
    serve; a non-finite loss or gradient is a result (status `diverged`), not an exception. With
    `rungs` validation is scored on the way too (`model/training/rungs.py`), where a hook may end
    the run (status `stopped`); it leaves all numbers as they are without, as does `score_training`,
    which scores some of the training text at the end.
    """
    notes.begin()
    where = corpus, device, checkpoint_dir, checkpoint_every_seconds
    run = Run(config, *where, hooks or Hooks(), rungs=rungs)
    status, error = COMPLETE, None
    try:
        while not run.done:
            run.train_epoch()
    except Stopped:
        status = STOPPED
    except Diverged as reason:
        status, error = DIVERGED, str(reason)
    return result_of(run, status, error, score_training=score_training)


def train_packed(
    configs: Sequence[RunConfig],
    corpus: Corpus,
    *,
    device: str = "cpu",
    checkpoint_dirs: Sequence[Path | None] | None = None,
    checkpoint_every_seconds: float = CHECKPOINT_EVERY_SECONDS,
    hooks: Sequence[Hooks] | None = None,
    score_training: bool = False,
) -> list[TrainResult]:
    """Train configurations of one shape together, a result for each.

    Each has its folder, hooks and checkpoints as for `train`, which can go on from them, as this
    can from those of `train`. One that diverges leaves the others as they are. Raises
    `ValueError` for configurations that differ in more than rate, weight decay and seed.
    """
    if len({config.shape() for config in configs}) != 1:
        raise ValueError("only runs that differ in rate, weight decay and seed can be packed")
    notes.begin()
    runs = [
        Run(config, corpus, device, folder, checkpoint_every_seconds, own, packed=True)
        for config, folder, own in zip(
            configs,
            checkpoint_dirs or [None] * len(configs),
            hooks or [Hooks()] * len(configs),
            strict=True,
        )
    ]
    for run in runs:
        run.add_elapsed("startup_seconds")  # its own, and that of the runs made after it
    pack = PackedRun(runs)
    pack.train()
    pairs = zip(runs, pack.errors, strict=True)
    return [
        result_of(run, DIVERGED if error else COMPLETE, error, len(runs), score_training)
        for run, error in pairs
    ]


def result_of(
    run: Run, status: str, error: str | None, pack: int = 1, score_training: bool = False
) -> TrainResult:
    """How `run`, which has ended with this status, ended; with the final weights of a complete one
    written."""
    # Before the timing is read: it takes part in it.
    final = run.save_final() if status == COMPLETE else None
    train_loss = run.score_training() if score_training and status == COMPLETE else None
    return TrainResult(
        status=status,
        error=error,
        epochs=tuple(run.state.epochs),
        steps=run.state.steps,
        timing=run.state.timing,
        device=describe_device(run.device),
        checkpoint=final,
        pack=pack,
        trunk_steps=run.state.trunk_steps,
        trunk_seconds=run.state.trunk_seconds,
        rungs=tuple(run.state.rungs),
        curve=run.state.curve.record(),
        val_documents=run.val_documents if status == COMPLETE else None,
        train_eval_loss_nats=train_loss,
        notes=tuple(run.notes),
    )
