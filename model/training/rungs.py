"""Where a run is scored on its way, so that it can be compared with others before its end.

A loss half-way down a decaying schedule says little about another trial's end, so rungs lie at the
same shares of every schedule that decays all the way, and at the same numbers of tokens under a
constant rate with a decay at the end (wsd), as long as that decay hasn't begun. No torch here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minigpt_search.model.config import TrainConfig

if TYPE_CHECKING:
    from minigpt_search.model.run_length import RunLength

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of all steps."""


def rung_steps(train: TrainConfig, length: RunLength) -> tuple[int, ...]:
    """The optimizer steps after which validation is scored, ascending and before the last.

    With wsd after 1/4, 1/2, 1, 2, 4, ... epochs that are over when the decay begins.
    """
    total = length.total_steps
    if train.schedule != "wsd":
        steps = {round(share * total) for share in SHARES}
        return tuple(sorted(step for step in steps if 0 < step < total))
    steps, after = set(), 0.25
    while round(after * length.steps_per_epoch) <= length.constant_until:
        steps.add(round(after * length.steps_per_epoch))
        after *= 2
    return tuple(sorted(step for step in steps if 0 < step < total))


def tokens_after(step: int, train: TrainConfig, seq_len: int, length: RunLength) -> int:
    """Training tokens of the first `step` steps; an epoch's last batch may be short."""
    epochs, steps = divmod(step, length.steps_per_epoch)
    sequences = epochs * length.sequences + min(steps * train.batch_size, length.sequences)
    return sequences * seq_len
