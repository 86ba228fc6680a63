"""What a run's steps add up to, and whether one of them went wrong, kept on the device.

Reading the device once a second costs nothing; at every step it would make a GPU wait. So each
step decides there and then, by the same few kernels, whether the run is still sound: it is not
once a loss or gradient is infinite or not a number, or, after the warm-up, once the mean loss is
above that of a uniform prediction by a whole nat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MEMORY = 0.9
"""Weight of the past in the running mean of the loss: a mean over about ten steps, so that one
unlucky batch is no explosion."""
MARGIN_NATS = 1.0
"""How far above a uniform prediction's a loss counts as exploded."""
_NO_LIMIT = 1e300


@dataclass(frozen=True, kw_only=True)
class EpochSums:
    """What the steps since the epoch's start add up to."""

    loss: float
    """Of loss in nats x sequences."""
    sequences: float
    grad_norm: float
    """Of the finite gradient norms before clipping."""
    sound_steps: int
    """Steps before the first that went wrong."""
    wrong: str | None
    """What went wrong at that step, and the values before it."""


class StepSums:
    """Adds up steps on `device`. Its tensors stay where they are, as a CUDA graph needs it."""

    def __init__(self, device: str, vocab_size: int, *, scaled: bool) -> None:
        """
        Args:
            vocab_size: a uniform prediction costs its logarithm, in nats.
            scaled: whether infinite gradients are met by design, as under fp16's scaler, which
                skips such a step.
        """
        self.scaled = scaled
        self.exploded_above = math.log(vocab_size) + MARGIN_NATS

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.totals = zeros(5)
        """loss x sequences, sequences, gradient norms, sound steps, steps; of the epoch."""
        self.mean = zeros() + math.log(vocab_size)
        """Running mean of the loss."""
        self.limit = zeros() + _NO_LIMIT
        """Of that mean."""
        self.sound = zeros(2)
        """Loss and gradient norm of the last sound step."""
        self.wrong = zeros(2)
        """Loss and gradient norm of the first step that went wrong."""

    def add(self, loss: Tensor, norm: Tensor, n: int) -> None:
        """Count a step over `n` sequences: its loss in nats and its gradient norm."""
        now = torch.stack([loss, norm]).double()
        self.mean.lerp_(now[0], 1 - MEMORY)
        # Infinite or not a number stays so in a mean; x - x is not a number for both.
        badness = self.mean if self.scaled else self.mean + (now[1] - now[1])
        going = self.totals[3] == self.totals[4]
        sound = going & (badness <= self.limit)
        self.sound.copy_(torch.where(sound, now, self.sound))
        self.wrong.copy_(torch.where(going & ~sound, now, self.wrong))
        norm = torch.nan_to_num(now[1], nan=0.0, posinf=0.0, neginf=0.0)
        one = torch.ones_like(norm)
        self.totals += torch.stack([now[0] * n, one * n, norm, sound.double(), one])

    def end_warmup(self) -> None:
        """From now on a mean loss above the limit is an explosion."""
        self.limit.fill_(self.exploded_above)

    def begin_epoch(self) -> None:
        """Start the epoch's sums anew."""
        self.totals.zero_()

    def read(self) -> EpochSums:
        """The sums so far. Waits for the device."""
        loss, sequences, grad_norm, sound_steps, steps = self.totals.tolist()
        return EpochSums(
            loss=loss,
            sequences=sequences,
            grad_norm=grad_norm,
            sound_steps=int(sound_steps),
            wrong=None if sound_steps == steps else self._say_what_is_wrong(),
        )

    def _say_what_is_wrong(self) -> str:
        loss, norm = self.wrong.tolist()
        last_loss, last_norm = self.sound.tolist()
        finite = math.isfinite(loss) and (self.scaled or math.isfinite(norm))
        what = "exploded" if finite else "not finite"
        return (
            f"loss or gradient {what} (loss {loss:.4g} nats, gradient norm {norm:.4g}; at the "
            f"step before {last_loss:.4g} and {last_norm:.4g})"
        )

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs, for a checkpoint of a run that is sound."""
        return {name: getattr(self, name) for name in ("totals", "mean", "limit", "sound")}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state()`, of any device."""
        for name, tensor in state.items():
            getattr(self, name).copy_(tensor)
