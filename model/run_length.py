"""How long a run is: sequences, steps and tokens, counted from its configuration. No torch here.

This is the recipe's arithmetic: a segment of N tokens holds floor((N - 1) / T) sequences of T
tokens, since each token needs a next one as its target and no sequence reaches over a segment's
end; an epoch's last batch may be short.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig

WARMUP_SHARE_LIMIT = 0.2
"""A warm-up of a larger share of a run leaves too little of it at a useful learning rate."""


@dataclass(frozen=True, kw_only=True)
class RunLength:
    """The length of a run, in sequences, optimizer steps and training tokens."""

    seq_len: int
    """Tokens of a sequence."""
    batch_size: int
    """Sequences of a step."""
    epochs: int
    """Passes over the sequences."""
    sequences_available: int
    """Training sequences of the corpus."""
    sequences: int
    """Training sequences of an epoch: fewer than available where `tokens_per_epoch` limits them."""
    warmup_steps: int
    """Optimizer steps over which the learning rate rises."""
    decay_steps: int = 0
    """Optimizer steps at the end over which it falls under the schedule wsd; 0 for the other
    schedules, which fall all the way."""

    @classmethod
    def of(cls, config: RunConfig, sequences_available: int) -> RunLength:
        """The length of a run of `config` on a split of so many sequences.

        Also of a configuration that can't be trained, as an experiment's base may be one (its
        values for the axes are never used): `run_length` raises for these.
        """
        model, train = config.model, config.train
        sequences = sequences_available
        if train.tokens_per_epoch is not None:
            sequences = min(sequences, train.tokens_per_epoch // model.seq_len)
        total_steps = train.epochs * -(-sequences // train.batch_size)
        return cls(
            seq_len=model.seq_len,
            batch_size=train.batch_size,
            epochs=train.epochs,
            sequences_available=sequences_available,
            sequences=sequences,
            warmup_steps=train.resolved_warmup_steps(total_steps),
            decay_steps=train.decay_steps(total_steps) if train.schedule == "wsd" else 0,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, whose last batch may be short."""
        return -(-self.sequences // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def tokens_per_epoch(self) -> int:
        """Training tokens of an epoch."""
        return self.sequences * self.seq_len

    @property
    def total_tokens(self) -> int:
        """Training tokens of the whole run, repeats counted."""
        return self.epochs * self.tokens_per_epoch

    @property
    def constant_until(self) -> int:
        """The step at which wsd's decay begins: up to it runs of any length are one."""
        return self.total_steps - self.decay_steps

    def tokens_after(self, step: int) -> int:
        """Training tokens of the first `step` optimizer steps."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        sequences = epochs * self.sequences + min(steps * self.batch_size, self.sequences)
        return sequences * self.seq_len


def sequences_in(segment_tokens: Iterable[int], seq_len: int) -> int:
    """Sequences of `seq_len` tokens in segments of so many tokens each, as
    `data.corpus.dataset.SegmentedTextDataset` serves them."""
    return sum(max(0, tokens - 1) // seq_len for tokens in segment_tokens)


def run_length(config: RunConfig, sequences_available: int) -> RunLength:
    """The length of a run of `config` on a training split of so many sequences.

    Raises `UserError` if the batch is larger than the epoch, or warm-up and decay are longer than
    the run.
    """
    length, train = RunLength.of(config, sequences_available), config.train
    if length.sequences < train.batch_size:
        raise UserError(
            f"batch_size={train.batch_size}: an epoch has only {length.sequences} sequences of "
            f"{length.seq_len} tokens; use a smaller batch or a larger corpus"
        )
    if length.warmup_steps >= length.total_steps:
        raise UserError(
            f"warmup_steps={length.warmup_steps}: the whole run has {length.total_steps} steps; "
            "use a shorter warm-up or more epochs"
        )
    if length.warmup_steps > length.constant_until:
        raise UserError(
            f"decay_fraction={train.decay_fraction}: {length.decay_steps} steps of decay after "
            f"{length.warmup_steps} of warm-up, and the whole run has {length.total_steps}; use a "
            "shorter decay, a shorter warm-up or more epochs"
        )
    return length


def check_validation(sequences: int, seq_len: int) -> None:
    """Raise `UserError` for a validation split that holds no sequence of this length."""
    if not sequences:
        raise UserError(
            f"seq_len={seq_len}: the validation split is shorter than one sequence; "
            "use a shorter context or a larger corpus"
        )
