"""What replicates say of configurations together: shrunk means, and which are as good as the best.

The lowest of several means is too low: it was chosen for its luck too. So the means are taken for
draws from one normal distribution, whose spread is estimated with them, and shrunk towards each
other, the more the less they differ beyond what seeds explain: a hierarchical model (Efron & Morris
1975; Gelman et al. 2013, chapter 5). The seeds' variance is pooled and has its usual posterior; the
share by which means are shrunk has nearly a uniform prior (Daniels 1999). Unlike those
of unrelated means, its probabilities hold where the true differences are small too (`tests/search/
results/test_coverage.py`). Pure functions; no torch, no Ray.

In a paired design the luck that a replicate shares with the others drops out of the differences
and stays in the levels: the means are fitted with it, their spread is what it leaves, and intervals
are widened by it.

Of 100 of its 95% intervals 91 to 97 hold the winner's true mean where seeds spread alike, 87 to 95
where they don't (docs/noise.md).

Shapes: k configurations, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minigpt_search.search.results.statistics import (
    CONFIDENCE,
    fair_means,
    fit_luck,
    pooled_spread,
    spread,
)

DRAWS = 4000
"""Of the true means: probabilities come out within a percent."""
SPREADS, SHARES = 80, 30
"""Values of the seeds' variance and of the share shrunk that are weighed."""
FAVOUR = 1.5
"""The share shrunk is a uniform number to this power: a little less shrinking than Daniels' prior,
whose intervals hold less often where configurations differ as much as seeds."""
FAR = 6.0
"""Standard errors of the difference from the lowest mean beyond which a configuration isn't one of
those that compete: a rate far too high tells nothing of how the good ones differ."""
CLOSEST = 2
"""So many of the best have a spread of their own: where it is larger than that of more of them, it
says which compete. Rates far too low spread less than good ones."""
LEAST_SD = 1e-4
"""Nats: losses differ by no less than they are printed with."""
EXCLUDED = 0.05
"""A configuration this likely to be within δ of the best is not excluded."""


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """What is known of one configuration's true mean."""

    mean: float
    low: float
    """Ends of its 95% credible interval, in nats; nan where it is far behind."""
    high: float
    near: float
    """Probability that it is within δ of the best."""


def shrunk(
    groups: Sequence[Mapping[int, float]], delta: float, *, paired: bool
) -> list[Shrunk] | None:
    """One for each configuration's losses by replicate (one at least); those far behind keep their
    own means, and are within δ of the best only where δ is that large. None where no two replicates
    tell how seeds spread.

    Args:
        delta: nats that don't matter.
        paired: replicates of the same number share a seed.
    """
    means, n = np.array(fair_means(groups, paired=paired)), np.array([len(g) for g in groups])
    pooled = pooled_spread(groups, paired=paired)
    if pooled is None:
        return None
    lowest = int(means.argmin())
    closest = [groups[i] for i in means.argsort(kind="stable")[:CLOSEST]]
    sd, df = max(pooled, spread(closest, paired=paired) or pooled)
    sd = max(sd, LEAST_SD)
    competes = means - means[lowest] <= FAR * sd * np.sqrt(1 / n + 1 / n[lowest])
    competing = [group for group, does in zip(groups, competes, strict=True) if does]
    draws = _alone(means, n, sd, df)
    if len(competing) > 1:  # one alone does not tell luck
        sd, df = spread(competing, paired=paired) or pooled
    draws[:, competes] = _true_means(
        np.array(fair_means(competing, paired=paired)), n[competes], max(sd, LEAST_SD), df
    )
    best = draws[:, competes].min(axis=1, keepdims=True)
    near = (draws <= best + delta).mean(axis=0)
    average = draws.mean(axis=0)
    if paired:
        draws += _luck_of_all(competing)
    tail = 50 * (1 - CONFIDENCE)
    found = []
    for i, mean in enumerate(means):
        if not competes[i]:
            alone = Shrunk(mean=float(mean), low=math.nan, high=math.nan, near=float(near[i]))
            found.append(alone)
            continue
        low, high = np.percentile(draws[:, i], (tail, 100 - tail))
        mean, low, high = float(average[i]), float(low), float(high)
        found.append(Shrunk(mean=mean, low=low, high=high, near=float(near[i])))
    return found


def _alone(means: np.ndarray, n: np.ndarray, sd: float, df: int) -> np.ndarray:
    """Draws of each true mean (D, k) by its own replicates alone: by Student's t."""
    from scipy.special import stdtrit

    quantiles = stdtrit(df, np.random.default_rng(2).random((DRAWS, len(means))))
    return means + quantiles * sd / np.sqrt(n)


def _true_means(means: np.ndarray, n: np.ndarray, sd: float, df: int) -> np.ndarray:
    """Draws from the posterior of the true means (D, k)."""
    from scipy.special import chdtri

    chance = np.random.default_rng(0)  # the same ledger says the same
    quantiles = (np.arange(SPREADS) + 0.5) / SPREADS
    variance = np.repeat(sd**2 * df / chdtri(df, quantiles), SHARES)  # of the seeds
    share = np.tile(((np.arange(SHARES) + 0.5) / SHARES) ** FAVOUR, SPREADS)
    between = variance / np.mean(n) * (1 - share) / share
    spread = variance[:, None] / n + between[:, None]  # of a mean around the centre
    precision = (1 / spread).sum(axis=1)
    centre = (means / spread).sum(axis=1) / precision
    squares = ((means - centre[:, None]) ** 2 / spread).sum(axis=1)
    likelihood = -(np.log(spread).sum(axis=1) + np.log(precision) + squares) / 2
    weight = np.exp(likelihood - likelihood.max())
    cell = chance.choice(len(weight), DRAWS, p=weight / weight.sum())
    middle = centre[cell] + chance.standard_normal(DRAWS) / np.sqrt(precision[cell])
    keep = between[cell][:, None] / spread[cell]
    left = keep * (variance[cell][:, None] / n)
    return (
        middle[:, None]
        + keep * (means - middle[:, None])
        + np.sqrt(left) * chance.standard_normal((DRAWS, len(means)))
    )


def _luck_of_all(groups: Sequence[Mapping[int, float]]) -> np.ndarray:
    """Draws of what the replicates' luck together adds to all levels (D, 1): by Student's t. None
    of it is added where one replicate alone tells nothing of luck."""
    from scipy.special import stdtrit

    luck = fit_luck(groups).luck
    if len(luck) < 2:
        return np.zeros((DRAWS, 1))
    quantiles = stdtrit(len(luck) - 1, (np.arange(DRAWS) + 0.5) / DRAWS)
    shuffled = np.random.default_rng(1).permutation(quantiles)
    return (shuffled * luck.std(ddof=1) / math.sqrt(len(luck)))[:, None]
