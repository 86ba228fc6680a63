"""The records of a training run: its epochs, rungs, curve, timing, device and checkpoint, and how
it can end. No torch here: the ledger and the reports read them."""

from __future__ import annotations

import dataclasses
import sys
from bisect import bisect_left
from dataclasses import dataclass

COMPLETE = "complete"
"""Every epoch ran, and every loss is finite."""
STOPPED = "stopped"
"""Ended early on purpose; its loss is not comparable with that of a complete run."""
DIVERGED = "diverged"
"""A loss or gradient became infinite or not a number."""
FAILED = "failed"
"""An exception or a lost worker, after all retries."""
STATUSES = (COMPLETE, STOPPED, DIVERGED, FAILED)


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The numbers of one epoch."""

    epoch: int
    """Counted from 1."""
    train_loss_nats: float
    """Mean cross-entropy a token over the epoch's steps, with dropout, as training saw it."""
    val_loss_nats: float
    """Mean cross-entropy a token on the validation split, without dropout."""
    val_perplexity: float
    """exp(val_loss_nats)."""
    val_bits_per_byte: float
    """val_loss_nats in bits, over the bytes of text instead of tokens: comparable across
    tokenizers."""
    lr_last: float
    """Learning rate of the epoch's last step."""
    grad_norm_mean: float
    """Mean global gradient norm before clipping."""
    tokens_seen: int
    """Training tokens since the run's start, repeats counted."""
    wall_seconds: float
    """Seconds since the run's start, start-up, evaluation and checkpoints included, resumed parts
    added up."""
    steps_per_second: float
    """The epoch's optimizer steps over its training time (no evaluation, no checkpoints)."""
    peak_memory_mb: float
    """Highest memory of the process so far, in units of 10^6 bytes (CPU: resident set; CUDA:
    allocated)."""


@dataclass(frozen=True, kw_only=True)
class RungRecord:
    """A validation on the way (`model/training/rungs.py`)."""

    step: int
    """Optimizer steps done."""
    tokens_seen: int
    """Training tokens since the run's start, repeats counted."""
    schedule_tokens: int
    """Training tokens of the whole run: its horizon."""
    val_loss_nats: float
    """Mean cross-entropy a token, on the tokens that are scored after an epoch."""

    @property
    def share(self) -> float:
        """The rung's tokens as a share of the whole run's."""
        return self.tokens_seen / self.schedule_tokens


@dataclass(frozen=True, kw_only=True)
class TrialCurve:
    """A run by its optimizer steps (`model/training/curve.py`): about 100 points of training and
    ten of validation. Its floats have 6 significant digits."""

    steps: tuple[int, ...] = ()
    """Of the training points, ascending; the four below have a number for each."""
    train_loss_nats: tuple[float, ...] = ()
    """Mean cross-entropy a token over the steps since the point before, with dropout."""
    grad_norm: tuple[float, ...] = ()
    """Mean global gradient norm before clipping, over the same steps."""
    grad_norm_max: tuple[float, ...] = ()
    """The largest of them."""
    lr: tuple[float, ...] = ()
    """Learning rate of the point's own step."""
    val_steps: tuple[int, ...] = ()
    """Of the validation points, ascending; the two below have a number for each."""
    val_loss_nats: tuple[float, ...] = ()
    """Mean cross-entropy a token, without dropout, on so many tokens of the validation split:"""
    val_tokens: tuple[int, ...] = ()
    """as many as after an epoch at epochs' ends and rungs, between them a few."""
    few_val_loss_nats: float | None = None
    """The last step's loss on those few, always the same: less that on all of them it is how far
    off the level of the points between is. None before the end, and where there are none."""
    missing_steps: int = 0
    """Optimizer steps at the start of which there are no points: the run went on from a checkpoint
    of before curves were kept."""

    def then(self, new: TrialCurve) -> TrialCurve:
        """These points followed by `new` ones, which replace those at or after their first steps:
        of a run that goes on from a checkpoint the first ones come again."""
        kept = bisect_left(self.steps, min(new.steps, default=sys.maxsize))
        kept_val = bisect_left(self.val_steps, min(new.val_steps, default=sys.maxsize))
        return TrialCurve(
            steps=self.steps[:kept] + new.steps,
            train_loss_nats=self.train_loss_nats[:kept] + new.train_loss_nats,
            grad_norm=self.grad_norm[:kept] + new.grad_norm,
            grad_norm_max=self.grad_norm_max[:kept] + new.grad_norm_max,
            lr=self.lr[:kept] + new.lr,
            val_steps=self.val_steps[:kept_val] + new.val_steps,
            val_loss_nats=self.val_loss_nats[:kept_val] + new.val_loss_nats,
            val_tokens=self.val_tokens[:kept_val] + new.val_tokens,
            few_val_loss_nats=new.few_val_loss_nats,
            missing_steps=new.missing_steps,
        )

    def since(self, points: int, validations: int) -> TrialCurve:
        """What follows the first so many points of training and of validation."""
        return TrialCurve(
            steps=self.steps[points:],
            train_loss_nats=self.train_loss_nats[points:],
            grad_norm=self.grad_norm[points:],
            grad_norm_max=self.grad_norm_max[points:],
            lr=self.lr[points:],
            val_steps=self.val_steps[validations:],
            val_loss_nats=self.val_loss_nats[validations:],
            val_tokens=self.val_tokens[validations:],
            few_val_loss_nats=self.few_val_loss_nats,
            missing_steps=self.missing_steps,
        )


@dataclass(frozen=True, kw_only=True)
class DocumentLosses:
    """A split's loss by document, or by group of documents where there are many
    (`model/scoring/document_losses.py`)."""

    nats: tuple[float, ...]
    """Sum of the cross-entropies of each one's tokens."""
    tokens: tuple[int, ...]
    """How many of its tokens were scored."""
    sources: tuple[int, ...]
    """Index of its source in the corpus' manifest."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where a trial's seconds went; resumed parts add up."""

    startup_seconds: float = 0.0
    """From the trial's start to its first step: opening the corpus, building the model, loading
    the checkpoint."""
    training_seconds: float = 0.0
    """Spent on optimizer steps."""
    evaluation_seconds: float = 0.0
    """Spent on scoring validation, after epochs, at rungs and between them."""
    checkpointing_seconds: float = 0.0
    """Spent on writing checkpoints and final weights, their hooks included."""

    def plus(self, **seconds: float) -> Timing:
        """A copy with the named parts increased."""
        return dataclasses.replace(self, **{k: getattr(self, k) + s for k, s in seconds.items()})

    def total(self) -> float:
        """All seconds together."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True, kw_only=True)
class CheckpointRef:
    """A file of weights and how to recognise it."""

    path: str
    """Relative to the experiment's folder."""
    sha256: str
    """The file's SHA-256 in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a run was computed on."""

    kind: str
    """cpu or cuda."""
    name: str
    """The processor's or the GPU's own name."""
    threads: int
    """Threads of a matrix product; the bits of a CPU result depend on it."""
