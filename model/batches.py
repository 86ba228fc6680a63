"""Which sequences a run trains on, in which order, and how many steps that makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from data.errors import UserError
from model.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class RunLength:
    """The arithmetic of a run's length."""

    sequences: int
    """Training sequences in an epoch."""
    steps_per_epoch: int
    """Optimizer steps in an epoch; the last batch may be short."""
    total_steps: int
    warmup_steps: int
    decay_steps: int = 0
    """Of the schedule wsd, at the end; 0 for others, which fall all the way."""

    @property
    def constant_until(self) -> int:
        """The step at which wsd's decay begins: up to it runs of any length are one."""
        return self.total_steps - self.decay_steps


def run_length(config: TrainConfig, seq_len: int, sequences_in_split: int) -> RunLength:
    """Length of a run over a training split of `sequences_in_split` sequences of `seq_len` tokens.

    Raises `UserError` if the batch is larger than the epoch or warm-up and decay longer than the
    run.
    """
    wanted = sequences_in_split
    if config.tokens_per_epoch is not None:
        wanted = min(wanted, config.tokens_per_epoch // seq_len)
    if wanted < config.batch_size:
        raise UserError(
            f"batch_size={config.batch_size}: an epoch has only {wanted} sequences of {seq_len} "
            "tokens; use a smaller batch or a larger corpus"
        )
    steps_per_epoch = -(-wanted // config.batch_size)
    total_steps = config.epochs * steps_per_epoch
    warmup_steps = config.resolved_warmup_steps(total_steps)
    if warmup_steps >= total_steps:
        raise UserError(
            f"warmup_steps={warmup_steps}: the whole run has {total_steps} steps; "
            "use a shorter warm-up or more epochs"
        )
    decay_steps = config.decay_steps(total_steps) if config.schedule == "wsd" else 0
    if warmup_steps + decay_steps > total_steps:
        raise UserError(
            f"decay_fraction={config.decay_fraction}: {decay_steps} steps of decay after "
            f"{warmup_steps} of warm-up, and the whole run has {total_steps}; use a shorter decay, "
            "a shorter warm-up or more epochs"
        )
    return RunLength(
        sequences=wanted,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        decay_steps=decay_steps,
    )


def check_validation(sequences: int, seq_len: int) -> None:
    """Raise `UserError` for a validation split that holds no sequence of this length."""
    if not sequences:
        raise UserError(
            f"seq_len={seq_len}: the validation split is shorter than one sequence; "
            "use a shorter context or a larger corpus"
        )


def evenly_spaced(n: int, available: int) -> Tensor:
    """`n` of the indices 0 … available - 1, spread evenly: (n,) int64."""
    return spread_evenly(torch.arange(n), available)


def spread_evenly(order: Tensor, available: int) -> Tensor:
    """A permutation of 0 … n - 1 as one of `evenly_spaced(n, available)`, in place: (n,) int64."""
    return order.mul_(available).floor_divide_(max(len(order), 1))


def epoch_order(n: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 … n - 1 that depends on seed and epoch alone: (n,) int64.

    It has a generator of its own, so that a resumed run draws the same order without replaying
    the epochs before.
    """
    digest = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(n, generator=generator)
