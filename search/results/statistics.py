"""How sure a number or an order is: intervals, Welch's test, the probability of being the best.

Pure functions over the final losses of replicates (nats). One replicate says nothing of the
spread, so for it there is no interval, no test and no probability: `None`.

Sources: Student 1908 (t-interval); Welch 1947 (unequal variances), with Satterthwaite's degrees of
freedom; Efron & Tibshirani 1993, chapters 6.5 (parametric bootstrap), 12.5 (bootstrap-t) and 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
ALPHA = 0.05
"""Probability of calling two equal configurations different, over a whole decision."""
POOLED = 5
"""The spread is pooled over this many of the best groups: those that compete. A rate far too high
has a spread of its own kind."""
OWN_SPREAD_FROM = 6
"""From so many replicates on a group's spread is its own, no longer the pooled one."""
COMPARED = 200
"""Of more groups than this only the best are drawn: memory for the others is not worth their
chance."""
DRAWS = 20_000
"""Of a bootstrap: its own error is then below 0.4 percentage points."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over replicates and its uncertainty."""

    n: int
    mean: float
    sd: float | None
    """Between replicates, with n - 1; None for one replicate."""
    low: float | None
    """Ends of the t-interval of the mean."""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Welch:
    """Welch's two-sided test of equal means."""

    t: float
    df: float
    p: float


def estimate(losses: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean, standard deviation and t-interval of one configuration's replicates (at least one)."""
    n, mean = len(losses), math.fsum(losses) / len(losses)
    if n < 2:
        return Estimate(n=n, mean=mean, sd=None, low=None, high=None)
    sd = math.sqrt(_variance(losses))
    half = t_quantile(0.5 + confidence / 2, n - 1) * sd / math.sqrt(n)
    return Estimate(n=n, mean=mean, sd=sd, low=mean - half, high=mean + half)


def _variance(losses: Sequence[float]) -> float:
    mean = math.fsum(losses) / len(losses)
    return math.fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)


def t_quantile(probability: float, df: float) -> float:
    """The quantile at `probability` of Student's t distribution."""
    from scipy.special import stdtrit  # a third of a second, which most commands needn't wait for

    return float(stdtrit(df, probability))


def welch(a: Sequence[float], b: Sequence[float]) -> Welch | None:
    """Whether the means of `a` and `b` differ; None if one has fewer than two replicates."""
    if min(len(a), len(b)) < 2:
        return None
    from scipy.special import stdtr

    lead = math.fsum(a) / len(a) - math.fsum(b) / len(b)
    error, df = welch_error(a, b)
    if error == 0:
        return Welch(t=math.copysign(math.inf, lead) if lead else 0.0, df=df, p=float(lead == 0))
    t = lead / error
    return Welch(t=t, df=df, p=2 * float(stdtr(df, -abs(t))))


def welch_error(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Standard error of the difference of the means, and its degrees of freedom by Satterthwaite;
    two replicates of each at least."""
    va, vb = _variance(a) / len(a), _variance(b) / len(b)
    if va + vb == 0:  # equal to the bit within both
        return 0.0, 1.0
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return math.sqrt(va + vb), df


def level(looks: int, competitors: int, alpha: float = ALPHA) -> float:
    """What each single comparison may spend of `alpha`, so that all of them together do not call
    equal configurations different more often than that.

    Bonferroni over the competitors and over the looks: the linear spending function of Lan & DeMets
    (1983), each look's share tested by itself, which is on the safe side.
    """
    return alpha / (max(1, looks) * max(1, competitors))


def separated(a: Sequence[float], b: Sequence[float], alpha: float) -> bool:
    """Whether Welch's test tells them apart at level `alpha`; never with one replicate."""
    test = welch(a, b)
    return test is not None and test.p <= alpha


def pooled_spread(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation between replicates, pooled over the best groups, and its degrees of
    freedom; None where no group has two replicates."""
    best = sorted(groups, key=lambda losses: sum(losses) / len(losses))
    several = [losses for losses in best[:POOLED] if len(losses) > 1]
    return pool(several or [losses for losses in best if len(losses) > 1][:POOLED])


def pool(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation between replicates, pooled over all `groups`, and its degrees of freedom;
    None where none has two replicates."""
    several = [losses for losses in groups if len(losses) > 1]
    if not several:
        return None
    df = sum(len(losses) - 1 for losses in several)
    squares = math.fsum(_variance(losses) * (len(losses) - 1) for losses in several)
    return math.sqrt(squares / df), df


def probability_best(
    groups: Sequence[Sequence[float]], draws: int = DRAWS, seed: int = 0
) -> list[float] | None:
    """How probable it is for each group that its true mean is the lowest; None if nothing is known
    of the spread.

    A parametric, studentised bootstrap over replicates: each draw gives each group the mean it has,
    plus the error of a mean of its n replicates, the standard deviation drawn anew too. Drawing
    replicates with replacement would do for dozens; of two or three it understates the spread
    by the factor sqrt((n - 1) / n) and leaves out that the spread itself is hardly known
    (`tests/reports/test_statistics.py` shows both).
    """
    pooled = pooled_spread(groups)
    if pooled is None:
        return None
    rng = np.random.default_rng(seed)
    sd, df = pooled
    shared = sd * np.sqrt(df / rng.chisquare(df, draws))
    order = sorted(range(len(groups)), key=lambda i: sum(groups[i]) / len(groups[i]))[:COMPARED]
    drawn = np.empty((len(order), draws))
    for row, losses in enumerate(groups[i] for i in order):
        n, spread = len(losses), shared
        if n >= OWN_SPREAD_FROM:
            spread = math.sqrt(_variance(losses)) * np.sqrt((n - 1) / rng.chisquare(n - 1, draws))
        error = rng.standard_normal(draws) * spread / math.sqrt(n)
        drawn[row] = math.fsum(losses) / n + error
    lowest = drawn == drawn.min(axis=0)
    shares = np.zeros(len(groups))
    shares[order] = (lowest / lowest.sum(axis=0)).mean(axis=1)
    return shares.tolist()
