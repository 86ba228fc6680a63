"""How long a run is: sequences, steps, warm-up and decay, from its configuration. No torch here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig, TrainConfig


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """What one epoch of a configuration goes through."""

    sequences_available: int
    sequences: int
    """Fewer than available when `tokens_per_epoch` limits them."""
    batches: int
    tokens: int


def epoch_plan(config: RunConfig, train_files: Sequence[Mapping[str, Any]]) -> EpochPlan:
    """The assignment's arithmetic: each segment loses its remainder below the context length, and
    the last short batch is kept."""
    seq_len, limit = config.model.seq_len, config.train.tokens_per_epoch
    available = sum(max(0, int(file["tokens"]) - 1) // seq_len for file in train_files)
    sequences = available if limit is None else min(available, limit // seq_len)
    return EpochPlan(
        sequences_available=available,
        sequences=sequences,
        batches=math.ceil(sequences / config.train.batch_size),
        tokens=sequences * seq_len,
    )
