"""What a run's steps add up to, and whether one of them diverged, kept on the device.

Reading the device once a second costs nothing; at every step it would make a GPU wait. So each
step decides on the device, by the same few kernels, whether the run has diverged: it has once a
loss or gradient is infinite or not a number, or, after the warm-up, once the mean loss is a whole
nat above the uniform-prediction loss, ln V.

Shapes: every tensor is a scalar or a short vector of fp64. V is the vocabulary's size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EMA_DECAY = 0.9
"""Weight of the past in the exponential moving average of the loss, which so is a mean over about
ten steps: one unlucky batch is no divergence."""
DIVERGENCE_MARGIN_NATS = 1.0
"""How far above ln V the mean loss counts as exploded."""
_NO_LIMIT = 1e300


@dataclass(frozen=True, kw_only=True)
class EpochSums:
    """What the steps since the epoch's start add up to."""

    loss: float
    """Sum of each step's mean loss in nats times its number of sequences."""
    sequences: float
    """Training sequences, whole numbers."""
    grad_norm: float
    """Sum of the finite gradient norms before clipping."""
    steps_before_divergence: int
    """All steps of a run that has not diverged."""
    divergence: str | None
    """Why the run diverged at the step after these, and the values before it; None if it did
    not."""


class StepSums:
    """Adds up steps on `device`. Its tensors stay where they are, as a CUDA graph needs it."""

    def __init__(self, device: str, vocab_size: int, *, scaled: bool) -> None:
        """
        Args:
            vocab_size: V; a uniform prediction has a loss of ln V nats.
            scaled: whether infinite gradients are met by design, as under fp16's scaler, which
                skips such a step.
        """
        self.scaled = scaled
        self.divergence_limit = math.log(vocab_size) + DIVERGENCE_MARGIN_NATS

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.totals = zeros(5)
        """Of the epoch: loss x sequences, sequences, gradient norms, steps before a divergence,
        steps."""
        self.norm_max = zeros()
        """Largest finite gradient norm since `copy_sums` was last called."""
        self.mean_loss = zeros() + math.log(vocab_size)
        """The moving average of the loss."""
        self.mean_loss_limit = zeros() + _NO_LIMIT
        """What `mean_loss` may reach; without effect until `enable_divergence_check`."""
        self.last_healthy = zeros(2)
        """Loss and gradient norm of the last step before a divergence."""
        self.first_diverged = zeros(2)
        """Loss and gradient norm of the step at which the run diverged."""

    def add(self, loss: Tensor, norm: Tensor, n: int) -> None:
        """Count a step over `n` sequences: its mean loss in nats and its gradient norm, scalars.

        The host is not waited for: every decision is a `torch.where`.
        """
        now = torch.stack([loss, norm]).double()  # (2,)
        self.mean_loss.lerp_(now[0], 1 - EMA_DECAY)
        # Infinite or not a number stays so in a mean. x - x is 0 for a finite x, else not a number,
        # which no comparison below holds for.
        checked = self.mean_loss if self.scaled else self.mean_loss + (now[1] - now[1])
        before = self.totals[3] == self.totals[4]  # no step of this epoch has diverged so far
        healthy = before & (checked <= self.mean_loss_limit)
        self.last_healthy.copy_(torch.where(healthy, now, self.last_healthy))
        self.first_diverged.copy_(torch.where(before & ~healthy, now, self.first_diverged))
        norm = torch.nan_to_num(now[1], nan=0.0, posinf=0.0, neginf=0.0)
        torch.maximum(self.norm_max, norm, out=self.norm_max)
        one = torch.ones_like(norm)
        self.totals += torch.stack([now[0] * n, one * n, norm, healthy.double(), one])

    def enable_divergence_check(self) -> None:
        """From now on a mean loss above the limit is a divergence too, not only what is not
        finite. Called at the end of the warm-up, before which a loss may rise for a while."""
        self.mean_loss_limit.fill_(self.divergence_limit)

    def begin_epoch(self) -> None:
        """Start the epoch's sums anew."""
        self.totals.zero_()

    def copy_sums(self) -> Tensor:
        """A copy (5,) of the epoch's sums so far: loss x sequences, sequences, gradient norms,
        steps, and the largest norm since the last call. It stays on the device, and the host
        doesn't wait for it (`read_copies`)."""
        copy = torch.cat([self.totals[:3], self.totals[4:], self.norm_max.view(1)])
        self.norm_max.zero_()
        return copy

    def read(self) -> EpochSums:
        """The sums so far. Waits for the device."""
        loss, sequences, grad_norm, healthy_steps, steps = self.totals.tolist()
        return EpochSums(
            loss=loss,
            sequences=sequences,
            grad_norm=grad_norm,
            steps_before_divergence=int(healthy_steps),
            divergence=None if healthy_steps == steps else self._describe_divergence(),
        )

    def _describe_divergence(self) -> str:
        """Which of loss and gradient norm did what, at the step that diverged."""
        loss, norm = self.first_diverged.tolist()
        last_loss, last_norm = self.last_healthy.tolist()
        finite = math.isfinite(loss) and (self.scaled or math.isfinite(norm))
        what = "exploded" if finite else "not finite"
        return (
            f"loss or gradient {what} (loss {loss:.4g} nats, gradient norm {norm:.4g}; at the "
            f"step before {last_loss:.4g} and {last_norm:.4g})"
        )

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs, for a checkpoint of a run that has not diverged. The names are
        the checkpoint format's."""
        return {
            "totals": self.totals,
            "mean": self.mean_loss,
            "limit": self.mean_loss_limit,
            "sound": self.last_healthy,
            "norm_max": self.norm_max,
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state()`, of any device; it may lack what was added to it later."""
        # In place: a CUDA graph reads and writes these very tensors.
        own = self.state()
        for name, tensor in state.items():
            own[name].copy_(tensor)


def read_copies(copies: Sequence[Tensor]) -> list[list[float]]:
    """The numbers of several `StepSums.copy_sums`, by one wait for the device."""
    numbers: list[list[float]] = torch.stack(list(copies)).tolist()
    return numbers
