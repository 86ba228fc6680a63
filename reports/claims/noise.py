"""Verdicts from noisy numbers: intervals, one-sided tests, and Holm's correction over a table.

A claim says of some numbers that each lies below a limit, or between two. It has two p-values:
`holds`, how likely numbers as good as these are where it is not true, and `fails`, how likely
numbers as bad as these are where it is. Twice the smaller is the claim's p, which Holm's procedure
adjusts for all claims of a table.

Sources: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
of Statistics 6; Berger 1982, "Multiparameter hypothesis testing and acceptance sampling",
Technometrics 24 (all parts hold: the largest p-value); Schuirmann 1987, two one-sided tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigpt_search.data.common.formatting import MOST_PERPLEXITY, perplexity
from minigpt_search.search.results.statistics import ALPHA, CONFIDENCE, t_quantile

HOLDS, FAILS, UNTOLD, NOT_RUN = "holds", "doesn't hold", "can't be told", "not run"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its 95% interval."""

    mean: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> Interval:
        """The interval through a monotone function."""
        low, high = sorted((function(self.low), function(self.high)))
        return Interval(mean=function(self.mean), low=low, high=high)

    def perplexities(self) -> str:
        """Of an interval of losses, the perplexities: `1,480 [1,408, 1,556]`."""
        shown = (
            f"{value:,.0f}" if value < MOST_PERPLEXITY else perplexity(math.inf)
            for value in (math.exp(min(nats, 700.0)) for nats in (self.mean, self.low, self.high))
        )
        return "{} [{}, {}]".format(*shown)

    def text(self, pattern: str) -> str:
        """`7.30 [7.25, 7.35]`."""
        return "{} [{}, {}]".format(*map(pattern.format, (self.mean, self.low, self.high)))


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The p-values of a claim, or of a part of one."""

    holds: float
    fails: float

    @property
    def p(self) -> float:
        """The chance of a verdict this sure, one way or the other, where it is wrong."""
        return min(1.0, 2 * min(self.holds, self.fails))


NOTHING_KNOWN = Claimed(holds=1.0, fails=1.0)
"""Of a part that was not run."""


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """An estimate with its standard error."""

    mean: float
    error: float
    degrees: float
    """Of freedom, of the error."""

    @property
    def interval(self) -> Interval:
        """The 95% interval."""
        reach = self.error * t_quantile(0.5 + CONFIDENCE / 2, self.degrees)
        return Interval(mean=self.mean, low=self.mean - reach, high=self.mean + reach)

    def less(self, constant: float) -> Noisy:
        """The estimate of the difference to a number without noise."""
        return Noisy(mean=self.mean - constant, error=self.error, degrees=self.degrees)

    def plus_error(self, error: float, degrees: float) -> Noisy:
        """The same estimate with the noise of another source added, with Satterthwaite's degrees of
        freedom."""
        mine, other = self.error**2, error**2
        if other == 0:
            return self
        known = mine**2 / self.degrees + other**2 / degrees
        return Noisy(
            mean=self.mean,
            error=math.sqrt(mine + other),
            degrees=(mine + other) ** 2 / known,
        )

    def below(self, limit: float) -> Claimed:
        """The claim that the number is below `limit`."""
        return Claimed(holds=self._lower_tail(limit), fails=1 - self._lower_tail(limit))

    def within(self, low: float, high: float) -> Claimed:
        """The claim that the number is between the two."""
        above, under = 1 - self._lower_tail(low), self._lower_tail(high)
        return Claimed(holds=max(above, under), fails=min(1 - above, 1 - under))

    def _lower_tail(self, limit: float) -> float:
        """How likely an estimate as low as this is where the number is `limit`."""
        from scipy.special import stdtr  # a third of a second

        if self.error == 0:  # replicates that are equal to the bit
            return 0.5 + 0.5 * float(self.mean > limit) - 0.5 * float(self.mean < limit)
        return float(stdtr(self.degrees, (self.mean - limit) / self.error))


def all_of(parts: Sequence[Claimed]) -> Claimed:
    """The claim that all of these hold. One that is wrong refutes it: Bonferroni over the parts."""
    return Claimed(
        holds=max(part.holds for part in parts),
        fails=min(1.0, len(parts) * min(part.fails for part in parts)),
    )


def any_of(parts: Sequence[Claimed]) -> Claimed:
    """The claim that one of these holds at least."""
    return Claimed(
        holds=min(1.0, len(parts) * min(part.holds for part in parts)),
        fails=max(part.fails for part in parts),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order of `p_values`: those up to 5% belong to a set of
    claims of which one or more is wrongly settled with a probability of 5% at most, however they
    depend on each other."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def verdict_of(claimed: Claimed, adjusted: float) -> str:
    """The verdict at an adjusted p-value."""
    if adjusted > ALPHA:
        return UNTOLD
    return HOLDS if claimed.holds < claimed.fails else FAILS
