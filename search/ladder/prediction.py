"""From a ladder's trials to what it says of the target, and whether that can be trusted.

A point is given only where each rung from the third on was predicted by those below it, and where
the interval is narrow enough; else the interval alone. Both are in docs/ladder.md, with how often
such intervals held and how often a point was refused in simulated ladders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minigpt_search.search.ladder.best_rate_ahead import RateAhead, rate_ahead
from minigpt_search.search.ladder.frontier import LossAhead, loss_ahead, miss_sd, reach
from minigpt_search.search.ladder.ridge import Ridge
from minigpt_search.search.ladder.rounds import Point, counted, losses_of
from minigpt_search.search.space.ladder_spec import (
    LEAST_RUNGS,
    is_open,
    lattice_place,
    lattice_rate,
)

MOST_FACTOR = 8.0
"""Of the interval's upper end over its lower one: beyond it no point is given. The best rate is
then within a factor of 2.8 of the point, which costs under 0.11 nats in a valley of 0.1 nats a
squared unit of log rate."""
FAN_STEPS = 6
"""Lengths from the largest rung to the target whose intervals a figure shows."""


@dataclass(frozen=True, kw_only=True)
class RungCheck:
    """A rung predicted from those below it, beside what it came to."""

    tokens: int
    width: int
    rate: float
    low: float
    high: float
    found_rate: float
    """By its own losses alone."""
    found_low: float
    """Ends of its 95% interval."""
    found_high: float
    rate_held: bool
    """Whether the two differ by no more than both intervals allow."""
    loss: float
    loss_low: float
    loss_high: float
    found_loss: float
    loss_held: bool


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a ladder says of its target."""

    rate: RateAhead
    loss: LossAhead
    checks: tuple[RungCheck, ...]
    missed: float
    """By what a power law misses losses beyond the rungs (`frontier.miss_sd`)."""
    largest: int
    """Tokens of the largest rung that counts, repeats counted."""
    passed_over: tuple[int, ...] = ()
    """Tokens of rungs that have too few rates with a result at the target's width."""
    lost: tuple[float, int] | None = None
    """The lowest rate that came to no result, and the tokens of the longest rung where it did."""

    @property
    def cells(self) -> np.ndarray:
        """Logarithms of the rungs' tokens and widths, ascending (R, 2)."""
        ridge = self.rate.fit.problem
        assert isinstance(ridge, Ridge)
        return ridge.losses.cells

    def loss_at(self, tokens: float, width: float) -> LossAhead:
        """The loss to expect of another run, from the same rungs."""
        rate = self.rate
        return loss_ahead(
            self.cells,
            rate.floors,
            rate.floors_covariance,
            (tokens, width),
            seed_sd=rate.sd,
            missed=self.missed,
            uniform=self.loss.frontier.uniform,
        )

    @property
    def lattice_rate(self) -> float:
        """The rate to use: the nearest on the lattice, at most 19% off."""
        return lattice_rate(lattice_place(self.rate.rate))

    @property
    def loss_caveat(self) -> str:
        """Why the expected loss can't be relied on; empty where the rungs kept to theirs."""
        failed = [check for check in self.checks if not check.loss_held]
        return f"the rungs below missed the loss at {self._where(failed)}" if failed else ""

    def _where(self, checks: Sequence[RungCheck]) -> str:
        """`400,000, 1,600,000 tokens`; with widths where there are several."""
        if np.ptp(self.cells[:, 1]) == 0:
            return f"{', '.join(f'{check.tokens:,}' for check in checks)} tokens"
        return ", ".join(f"{check.tokens:,} tokens (width {check.width})" for check in checks)

    @property
    def refused(self) -> str:
        """Why no point is given; empty where one is."""
        failed = [check for check in self.checks if not check.rate_held]
        if failed:
            return f"the rungs below did not predict the best rate of {self._where(failed)}"
        if self.passed_over:
            where = ", ".join(f"{tokens:,}" for tokens in self.passed_over)
            return f"the rung of {where} tokens has fewer than three rates with a result"
        if self.lost is not None and self.lattice_rate >= self.lost[0]:
            rate, tokens = self.lost
            return f"lr={rate:g} came to no result on the rung of {tokens:,} tokens"
        if not self.checks:
            return f"fewer than {LEAST_RUNGS} rungs have results"
        if all(any(is_open(check.low, check.high)) for check in self.checks):
            return "no rung's best rate was predicted to an interval with two ends: none is checked"
        if any(is_open(self.rate.low, self.rate.high)):
            return "an end of the interval lies beyond all rates that are tried"
        if self.rate.factor > MOST_FACTOR:
            return f"the interval is a factor of {self.rate.factor:.1f} wide, over {MOST_FACTOR:g}"
        return ""


class Step(NamedTuple):
    """A run between the rungs and the target."""

    rate: RateAhead
    loss: LossAhead


def predict(
    points: Sequence[Point], target: tuple[float, float], *, delta: float, uniform: float
) -> Prediction | None:
    """What the trials say of `target` (tokens, width); None before two rungs have three rates.

    Args:
        delta: nats that don't matter.
        uniform: nats of a uniform prediction.
    """
    known = counted(points)
    lengths = sorted({p.tokens for p in known})
    if len(lengths) < 2:
        return None
    mine = [p for p in points if p.width == target[1]] or points
    there = {p.tokens for p in known if p in mine}
    lost = [(p.rate, -p.tokens) for p in mine if p.loss is None]
    checks: list[RungCheck] = []
    misses: list[float] = []
    for below, tokens in pairwise(lengths[1:]):
        missed = miss_sd(misses)
        made = [
            _check(known, tokens, width, delta, missed, uniform)
            for width in sorted({p.width for p in known if p.tokens == tokens})
        ]
        misses += [(c.found_loss - c.loss) / reach(math.log(tokens / below)) for c in made]
        checks += made
    rate, loss = _ahead(known, target, delta, miss_sd(misses), uniform)
    return Prediction(
        rate=rate,
        loss=loss,
        checks=tuple(checks),
        missed=miss_sd(misses),
        largest=lengths[-1],
        passed_over=tuple(sorted({p.tokens for p in mine} - there)),
        lost=(min(lost)[0], -min(lost)[1]) if lost else None,
    )


def fan(
    points: Sequence[Point], found: Prediction, *, delta: float, uniform: float
) -> tuple[Step, ...]:
    """What the same trials say of runs between the largest rung and the target."""
    known = [p for p in counted(points) if p.tokens <= found.largest]
    rate = found.rate
    lengths = np.geomspace(found.largest, rate.tokens, FAN_STEPS)[:-1]
    how = delta, found.missed, uniform
    steps = (_ahead(known, (float(t), rate.width), *how) for t in lengths)
    return *(Step(*step) for step in steps), Step(rate, found.loss)


def _ahead(
    points: Sequence[Point],
    target: tuple[float, float],
    delta: float,
    missed: float,
    uniform: float,
) -> tuple[RateAhead, LossAhead]:
    """The rate is no surer than the rungs of the target's own width make it: other widths share
    their valleys' shape, and where that is wrong they are wrong alike."""
    losses = losses_of(points)
    rate = rate_ahead(losses, target, delta)
    own = [p for p in points if p.width == target[1]]
    if len(own) < len(points) and len({p.tokens for p in own}) >= 2:
        alone = rate_ahead(losses_of(own), target, delta)
        low, high = min(rate.low, alone.low), max(rate.high, alone.high)
        rate = replace(rate, low=low, high=high)
    loss = loss_ahead(
        losses.cells,
        rate.floors,
        rate.floors_covariance,
        target,
        seed_sd=rate.sd,
        missed=missed,
        uniform=uniform,
    )
    return rate, loss


def _check(
    points: Sequence[Point], tokens: int, width: int, delta: float, missed: float, uniform: float
) -> RungCheck:
    """Leave the rung and all above it out, and predict it."""
    target = float(tokens), float(width)
    below = [p for p in points if p.tokens < tokens]
    rate, loss = _ahead(below, target, delta, missed, uniform)
    own = losses_of([p for p in points if (p.tokens, p.width) == (tokens, width)])
    found = rate_ahead(own, target, delta)
    return RungCheck(
        tokens=tokens,
        width=width,
        rate=rate.rate,
        low=rate.low,
        high=rate.high,
        found_rate=found.rate,
        found_low=found.low,
        found_high=found.high,
        rate_held=_agree(rate, found),
        loss=loss.loss,
        loss_low=loss.low,
        loss_high=loss.high,
        found_loss=float(found.floors[0]),
        loss_held=loss.low <= float(found.floors[0]) <= loss.high,
    )


def _agree(predicted: RateAhead, found: RateAhead) -> bool:
    """Whether two intervals of one number go together: their centres differ by no more than the
    root of the sum of the squares of the sides that face each other."""
    lower, upper = sorted((predicted, found), key=lambda each: each.rate)
    sides = math.log(lower.high / lower.rate), math.log(upper.rate / upper.low)
    return math.log(upper.rate / lower.rate) <= math.hypot(*sides)
