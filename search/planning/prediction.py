"""How long trials and a search will take: plain arithmetic on measured speeds. No torch, no Ray."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.model.training.checkpoint_files import (
    FINAL_BYTES_PER_PARAMETER,
    STEP_BYTES_PER_PARAMETER,
)
from minigpt_search.search.planning.calibration import Speed
from minigpt_search.search.records.plan import END_SECONDS, START_SECONDS

FIRST_TRIAL_SECONDS, NEXT_TRIAL_SECONDS = 1.3, 0.4
"""Of a worker's first trial and of each other, before its first step and after its last."""
ROUND_SECONDS = 4.0
"""Of one more round on a Ray that stays, as `--confirm` has them: Tune's start and end, and new
worker processes (2026-11-29, 2 cores: 3 to 5 s, up to 14 s where others kept them busy)."""
CHECKPOINT_BYTES_PER_SECOND = 300e6
"""Written, synchronised and hashed; docs/results/lr-quick has 0.35 s for 108 MB."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one trial does."""

    config: RunConfig
    training_tokens: int
    scored_tokens: int
    """Validation tokens, all evaluations together."""
    parameters: int
    checkpoint_every_seconds: float


def work_seconds(work: Work, speed: Speed) -> float:
    """A trial's time from its first step to its final weights."""
    training = work.training_tokens / speed.training
    steps_saved = int(training / work.checkpoint_every_seconds)
    saved = work.parameters * (FINAL_BYTES_PER_PARAMETER + STEP_BYTES_PER_PARAMETER * steps_saved)
    return training + work.scored_tokens / speed.scoring + saved / CHECKPOINT_BYTES_PER_SECOND


def makespan(seconds: Iterable[float], workers: int) -> float:
    """When the last of these trials ends, each started in its turn by the first free worker."""
    free = [FIRST_TRIAL_SECONDS] * workers
    end = 0.0
    for own in seconds:
        ends = heapq.heappop(free) + own
        end = max(end, ends)
        heapq.heappush(free, ends + NEXT_TRIAL_SECONDS)
    return end


def rounds_seconds(rounds: Iterable[Iterable[float]], workers: int) -> float:
    """Of rounds of trials after the search, one after the other on the same Ray."""
    return sum(ROUND_SECONDS + makespan(seconds, workers) for seconds in rounds)


def search_seconds(seconds: Iterable[float], workers: int) -> float:
    """From the plan's lines to the command's end: what the plan says, what `plan.predicted_seconds`
    keeps and what `Clock.searched` is compared with."""
    return START_SECONDS + makespan(seconds, workers) + END_SECONDS


def trials_that_fit(seconds: Callable[[int], float], workers: int, available: float) -> int:
    """How many trials, the first taking `seconds(0)`, end before `available` seconds are over."""
    free = [START_SECONDS + FIRST_TRIAL_SECONDS] * workers
    number = 0
    while (ends := heapq.heappop(free) + seconds(number)) + END_SECONDS <= available:
        heapq.heappush(free, ends + NEXT_TRIAL_SECONDS)
        number += 1
    return number
