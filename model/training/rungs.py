"""Where a run is scored on its way, so that it can be compared with others before its end.

A loss half-way down a decaying schedule says little about another trial's end, so rungs lie at the
same shares of every schedule that decays all the way, and at the same numbers of tokens under a
constant rate with a decay at the end (wsd), as long as that decay hasn't begun. No torch here.
"""

from __future__ import annotations

from minigpt_search.model.config import TrainConfig
from minigpt_search.model.run_length import RunLength

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Shares of all steps after which validation is scored, under schedules that decay all the way."""


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
