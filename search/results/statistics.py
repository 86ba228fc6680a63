"""How sure a number or an order is: intervals, tests of means, the spread between seeds.

Pure functions over the final losses of replicates (nats). One replicate says nothing of the
spread, so for it there is no interval and no test: `None`.

Sources: Student 1908 (t-interval); Welch 1947 (unequal variances), with Satterthwaite's degrees of
freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

CONFIDENCE = 0.95
ALPHA = 0.05
"""Probability of calling two equal configurations different, over a whole decision."""
POOLED = 5
"""The spread is pooled over this many of the best groups: those that compete. A rate far too high
has a spread of its own kind."""
TINY = 1e-12
"""A probability that no look ever spends."""
PRIOR_SD = 0.04
"""Nats between seeds where no configuration had several. With the built-in corpus at `quick` it is
0.027 over the 12 configurations of docs/results/claims-quick (0.003 to 0.055 each, three seeds) and
0.044 for the winner of docs/results/lr-confirm: rounded up, since to confirm one too many is the
lesser ill."""


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


def pair_count(compared: int) -> int:
    """Pairs of so many configurations, one at least."""
    return max(1, compared * (compared - 1) // 2)


def level(looks: int, compared: int, alpha: float = ALPHA) -> float:
    """What each single test may spend of `alpha`, so that all of them together do not call equal
    ones of the `compared` configurations different more often than that.

    Bonferroni over the pairs and over the looks. Over all pairs, though the winner alone is
    compared: it was chosen as the lowest, so its distance to the highest is that of the widest
    pair. Over the looks it is the linear spending function of Lan & DeMets (1983), each look's
    share tested by itself, which is on the safe side.
    """
    return alpha / (max(1, looks) * pair_count(compared))


@lru_cache
def late_levels(counts: tuple[int, ...], compared: int, alpha: float = ALPHA) -> tuple[float, ...]:
    """What each test may spend at each look, at `counts` seeds each, so that all of them together
    do not call equal ones of the `compared` configurations different more often than `alpha`.

    Late: at a share s of the seeds 2 - 2 Φ(z / √s) of it may have been spent, the function of Lan &
    DeMets (1983) that is like O'Brien & Fleming's bounds, so that the last look has nearly all of
    it. Bonferroni over the pairs, as in `level`. The looks share data: the z-value after each is a
    random walk, whose part that no look has stopped is followed on a grid (Armitage, McPherson &
    Rowe 1969).
    """
    from scipy.special import ndtr, ndtri

    each = alpha / pair_count(compared)
    shares = [count / counts[-1] for count in counts]
    spent = [2 * float(ndtr(ndtri(each / 2) / math.sqrt(share))) for share in shares]
    walk, found, before = np.linspace(-9, 9, 1801), [], 0.0
    width = float(walk[1] - walk[0])
    density = np.zeros_like(walk)  # of the walk where no look has stopped it
    for share, new in zip(shares, np.diff(spent, prepend=0.0), strict=True):
        step = math.sqrt(share - before)
        kernel = np.exp(-((walk / step) ** 2) / 2) / step / math.sqrt(2 * math.pi)
        density = np.convolve(density, kernel, mode="same") * width if before else kernel
        before = share
        beyond = (2 * np.cumsum(density[::-1])[::-1] - density) * width
        upper = walk > 0
        bound = float(np.interp(new, beyond[upper][::-1], walk[upper][::-1]))
        found.append(2 * float(ndtr(-bound / math.sqrt(share))) if new > TINY else float(new))
        density[np.abs(walk) >= bound] = 0
    return tuple(found)


def separates(test: Welch | None, alpha: float) -> bool:
    """Whether the test tells the two apart at level `alpha`; never without a test."""
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
