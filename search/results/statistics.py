"""How sure a number or an order is: intervals, tests of means, the spread between seeds.

Pure functions over the final losses of replicates (nats), by their number where it matters which
are compared. One replicate says nothing of the spread, so for it there is no interval and no test:
`None`.

In a paired design replicate r has the same seed in every configuration, and what a seed does to all
of them, its luck, drops out of their differences: tests are paired, the spread is what is left
beside luck, and means are compared as if each had all replicates. `compare_means` decides which
test it is, `difference_error` with it; whoever compares asks them.

Sources: Student 1908 (t-interval, the paired test); Welch 1947 (unequal variances), with
Satterthwaite's degrees of freedom; Fisher 1935, The Design of Experiments (blocks).

Shapes: k configurations, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
class MeansTest:
    """A two-sided test of equal means: Student's over pairs, or Welch's."""

    t: float
    df: float
    p: float
    paired: bool = False


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


def compare_means(
    a: Mapping[int, float], b: Mapping[int, float], *, paired: bool
) -> MeansTest | None:
    """Whether the means of `a` and `b`, losses by replicate, differ, by the test that the design
    asks for: Student's over the replicates that both have where it is `paired`, else Welch's, as
    where they have none in common. None with fewer than two of these."""
    paired = paired and not a.keys().isdisjoint(b)
    found = difference_error(a, b, paired=paired)
    if found is None:
        return None
    from scipy.special import stdtr

    lead, error, df = found
    if error == 0:
        t, p = math.copysign(math.inf, lead) if lead else 0.0, float(lead == 0)
        return MeansTest(t=t, df=df, p=p, paired=paired)
    t = lead / error
    return MeansTest(t=t, df=df, p=2 * float(stdtr(df, -abs(t))), paired=paired)


def difference_error(
    a: Mapping[int, float], b: Mapping[int, float], *, paired: bool
) -> tuple[float, float, float] | None:
    """The mean of `a` less that of `b`, its standard error and degrees of freedom, by the design as
    in `compare_means`; None with too few replicates."""
    if paired and not a.keys().isdisjoint(b):
        apart = [a[replicate] - b[replicate] for replicate in a if replicate in b]
        if len(apart) < 2:
            return None
        error = math.sqrt(_variance(apart) / len(apart))
        return math.fsum(apart) / len(apart), error, len(apart) - 1.0
    first, second = list(a.values()), list(b.values())
    if min(len(first), len(second)) < 2:
        return None
    lead = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    return lead, *_welch_error(first, second)


def _welch_error(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
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


def separates(test: MeansTest | None, alpha: float) -> bool:
    """Whether the test tells the two apart at level `alpha`; never without a test."""
    return test is not None and test.p <= alpha


def pooled_spread(
    groups: Sequence[Mapping[int, float]], *, paired: bool
) -> tuple[float, int] | None:
    """`spread` of the best groups that have two replicates."""
    best = [groups[i] for i in np.argsort(fair_means(groups, paired=paired), kind="stable")]
    several = [losses for losses in best[:POOLED] if len(losses) > 1]
    several = several or [losses for losses in best if len(losses) > 1][:POOLED]
    return spread(several, paired=paired)


def spread(groups: Sequence[Mapping[int, float]], *, paired: bool) -> tuple[float, int] | None:
    """Standard deviation between replicates that differences have, pooled over all `groups`, and
    its degrees of freedom; None where none has two replicates. Where they are `paired` it is what
    luck leaves, or the whole one where a single group doesn't tell luck."""
    if paired and groups and (found := fit_luck(groups)).df > 0:
        return found.sd, found.df
    return pool([list(group.values()) for group in groups])


def fair_means(groups: Sequence[Mapping[int, float]], *, paired: bool) -> list[float]:
    """The mean of each group (one replicate at least). Where they are `paired` and don't all have
    the same replicates, as if they had: else who has the lucky ones would seem better."""
    if paired and any(group.keys() != groups[0].keys() for group in groups):
        return [float(mean) for mean in fit_luck(groups).means]
    return [sum(group.values()) / len(group) for group in groups]


@dataclass(frozen=True, kw_only=True)
class Luck:
    """Losses of a paired design as a mean of each configuration and the luck of each replicate."""

    means: np.ndarray
    """As if each had all replicates (k)."""
    luck: np.ndarray
    """What each replicate adds to all, 0 on average (R)."""
    sd: float
    """Of what is left, 0 where `df` is."""
    df: int


def fit_luck(groups: Sequence[Mapping[int, float]]) -> Luck:
    """The least-squares fit of both; where replicates of a group are missing too. Groups that share
    no replicate with others, not by way of others either, keep their plain means."""
    replicates = sorted(set[int]().union(*groups))
    there = np.array([[r in group for r in replicates] for group in groups], float)
    losses = np.array([[group.get(r, 0.0) for r in replicates] for group in groups])
    n = there.sum(axis=1, keepdims=True)
    plain = losses.sum(axis=1, keepdims=True) / n
    # The normal equations without the means; of luck that nothing tells the least is taken.
    normal = np.diag(there.sum(axis=0)) - (there / n).T @ there
    luck, _, rank, _ = np.linalg.lstsq(normal, ((losses - plain) * there).sum(axis=0), rcond=1e-9)
    means = plain[:, 0] - there @ luck / n[:, 0]
    left = (losses - means[:, None] - luck) * there
    df = round(there.sum()) - len(groups) - int(rank)
    sd = math.sqrt((left**2).sum() / df) if df > 0 else 0.0
    return Luck(means=means, luck=luck, sd=sd, df=df)


def pool(groups: Iterable[Sequence[float]]) -> tuple[float, int] | None:
    """Standard deviation between replicates, pooled over all `groups`, and its degrees of freedom;
    None where none has two replicates."""
    several = [losses for losses in groups if len(losses) > 1]
    if not several:
        return None
    df = sum(len(losses) - 1 for losses in several)
    squares = math.fsum(_variance(losses) * (len(losses) - 1) for losses in several)
    return math.sqrt(squares / df), df
