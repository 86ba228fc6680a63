"""The best learning rate of a longer run, from searches of shorter ones: a ridge through valleys.

Each rung (a length of training, and a width) has a valley of losses over the learning rate. All
rungs' valleys are fitted at once: of one skew, and of a steepness that changes with the length;
each has a floor of its own. Their lowest points lie on a ridge in log rate,

    ridge(tokens, width) = target + b (t - t*) + c (t² - t*²) + d (w - w*) + the rung's own,

with t and w the logarithms of tokens and width about their means, and * at the target. The
curvature c and what a rung has of its own are what a straight line leaves out. What the rungs don't
tell is as the priors have it, which widens the interval at the target.

Two families of valleys are tried, as in `search/results/best_rate.py`: a parabola of its own
steepness on either side, and the smooth linex curve (Varian 1975).

Pure functions; no torch, no Ray. Shapes: n trials, R rungs, P parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SLOPE_SD = 0.35
"""Prior of the exponent of the best rate in tokens, about 0. Published ones are -0.32 (Bjorck et
al. 2024, arXiv 2409.19913), -0.125 in compute (DeepSeek-AI 2024, arXiv 2401.02954) and +0.31 (Li et
al. 2025, arXiv 2503.04715)."""
CURVATURE_SD = 0.02
"""Prior of the curvature about 0: a line that is straight over the rungs may change its exponent by
0.14 over another factor of 30 in tokens. Those laws are fitted without any; with half as much the
intervals of a run 30 times as long held in 70 to 80% of ladders that bend so (docs/ladder.md)."""
WIDTH_MEAN, WIDTH_SD = -0.5, 0.7
"""Prior of the exponent of the best rate in width: between none (muP: Yang et al. 2022, arXiv
2203.03466) and -1."""
RUNG_SD = 0.15
"""Prior of what a rung's best rate has of its own, in log rate. Chosen after one real ladder: with
0.05 its lower rungs predicted 0.00049 for the largest, which came to 0.001, and the lowest three
excluded the lowest of the rates tried at 3,000,000 tokens (docs/ladder.md)."""
STEEP_MEAN, STEEP_SD = math.log(0.1), 1.0
"""Prior of the logarithm of nats a squared unit of log rate: 0.05 to 0.4 over the grids of
docs/results."""
STEEPENING_SD = 0.3
"""Prior of how that logarithm changes with a unit of log tokens."""
SKEW_SD = math.log(6)
BENT = 1.5
"""Both as in `search/results/best_rate.py`."""
LOOSE = 0.1
"""Standard deviation of what no valley says of a rate's loss, as a share of its height above the
rung's lowest. It is half of a single valley's, since what the family misses is much the same on
each rung, and so moves the ridge as a whole."""
WALL = 0.2
"""Nats above its rung's lowest at which that share has doubled; it grows as the height does. Runs
at rates too low to have learnt anything stand on no valley's side but on a wall: with the share the
same at any height, one at 2.2 nats moved all three rungs' best rates by a factor of 5."""
SHARED_LUCK = 0.8
"""Correlation between what seeds do to the losses of two runs of one trunk, the longer with the
next shorter. Measured were 0.63 (0.19 to 0.86) and 0.73 (0.46 to 0.87): docs/ladder.md."""
PRIOR_SD, PRIOR_DF = 0.03, 4
"""Nats between seeds before any were seen, and the degrees of freedom that it counts for."""
TARGET, SLOPE, CURVATURE, WIDTH, STEEP, STEEPENING, SKEW, OWN = range(8)
"""Places of the parameters; after OWN one for each rung, and then their floors."""
STARTS = (0.3, 1.5, -0.5)
"""Skews to begin with: there may be more than one valley of misfits."""


@dataclass(frozen=True)
class Losses:
    """Final losses by rung and rate."""

    tokens: np.ndarray
    """Training tokens of each trial, repeats counted (n)."""
    width: np.ndarray
    """(n)"""
    rate: np.ndarray
    """(n)"""
    loss: np.ndarray
    """Nats (n)."""
    trunks: np.ndarray | None = None
    """The number of the trunk that each is of, and how many of the same are shorter (n, 2); None:
    each is a run of its own."""

    @cached_property
    def correlation(self) -> np.ndarray:
        """Between what seeds do to the losses (n, n)."""
        if self.trunks is None:
            return np.eye(len(self.loss))
        trunk, place = self.trunks.T
        apart = np.abs(place[:, None] - place)
        return np.where(trunk[:, None] == trunk, SHARED_LUCK**apart, 0.0)

    @cached_property
    def cells(self) -> np.ndarray:
        """Logarithms of the rungs' tokens and widths, ascending (R, 2)."""
        return np.unique(self._pairs, axis=0)

    @cached_property
    def own(self) -> np.ndarray:
        """The rung of each trial (n)."""
        return np.unique(self._pairs, axis=0, return_inverse=True)[1].ravel()

    @property
    def _pairs(self) -> np.ndarray:
        return np.log(np.stack([self.tokens, self.width], axis=1))

    @cached_property
    def x(self) -> np.ndarray:
        """Logarithms of the rates (n)."""
        return np.log(self.rate)

    @cached_property
    def _place(self) -> np.ndarray:
        """Which trials are replicates of each other: the same number (n)."""
        key = np.stack([self.own, self.x], axis=1)
        return np.unique(key, axis=0, return_inverse=True)[1].ravel()

    @cached_property
    def replicates(self) -> np.ndarray:
        """How many each trial has, itself counted (n)."""
        return np.bincount(self._place)[self._place]

    @cached_property
    def mean(self) -> np.ndarray:
        """Of each trial's replicates (n)."""
        return np.bincount(self._place, self.loss)[self._place] / self.replicates

    @cached_property
    def height(self) -> np.ndarray:
        """Of each trial's mean above its rung's lowest (n)."""
        low = np.array([self.mean[self.own == r].min() for r in range(len(self.cells))])
        return self.mean - low[self.own]

    @cached_property
    def squares(self) -> tuple[float, int]:
        """Of replicates about their means, summed, and their degrees of freedom."""
        between = len(self.loss) - len(np.unique(self._place))
        return float(((self.loss - self.mean) ** 2).sum()), between

    def where(self, chosen: np.ndarray) -> Losses:
        """Those chosen (n) alone."""
        tokens, width, rate, loss = self.tokens, self.width, self.rate, self.loss
        trunks = None if self.trunks is None else self.trunks[chosen]
        return Losses(tokens[chosen], width[chosen], rate[chosen], loss[chosen], trunks)


class Ridge:
    """The least-squares problem of one family of valleys; parameter 0 is the ridge's height at the
    target, a log rate."""

    def __init__(
        self, losses: Losses, target: tuple[float, float], smooth: bool, variance: float
    ) -> None:
        """`target`: tokens and width; `variance`: between seeds, in squared nats."""
        self.losses, self.smooth = losses, smooth
        self.count = len(losses.cells)
        self.centre = losses.cells.mean(axis=0)
        self.z = losses.cells - self.centre
        self.to = np.log(np.array(target)) - self.centre
        # What a family misses a rate by is the same for all its seeds.
        height = losses.height
        loose = losses.replicates * (LOOSE * height * (1 + height / WALL)) ** 2
        covariance = variance * losses.correlation + np.diag(loose)
        self.whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        """Makes the misses of variance 1 each, and independent (n, n)."""
        n = OWN + 2 * self.count
        self.prior_mean, sd = np.zeros(n), np.full(n, np.inf)
        sd[[SLOPE, CURVATURE, WIDTH, STEEPENING, SKEW]] = (
            SLOPE_SD,
            CURVATURE_SD,
            WIDTH_SD,
            STEEPENING_SD,
            SKEW_SD,
        )
        self.prior_mean[[WIDTH, STEEP]] = WIDTH_MEAN, STEEP_MEAN
        sd[STEEP], sd[OWN : OWN + self.count] = STEEP_SD, RUNG_SD
        known = np.isfinite(sd)
        self._prior = np.diag(1 / sd)[known]
        """Derivatives of the priors' residuals (priors, P)."""
        at = self.z - self.to
        curve = self.z[:, 0] ** 2 - self.to[0] ** 2
        self._line = np.stack([np.ones(self.count), at[:, 0], curve, at[:, 1]], axis=1)
        """Derivatives of the ridge by its first four parameters (R, 4)."""
        self._is_own = np.eye(self.count)[losses.own]
        """Whether a trial is of a rung (n, R)."""

    @property
    def is_rung(self) -> bool:
        """Whether the target is one of the rungs."""
        return bool(np.isclose(self.z, self.to).all(axis=1).any())

    def heights(self, p: np.ndarray) -> np.ndarray:
        """The rungs' best log rates (R)."""
        return self._line @ p[:STEEP] + p[OWN : OWN + self.count]

    @property
    def by_rung(self) -> np.ndarray:
        """Derivatives of `heights` by the parameters before the floors (R, P - R)."""
        shape = np.zeros((self.count, OWN - STEEP))
        return np.concatenate([self._line, shape, np.eye(self.count)], axis=1)

    def steepness(self, p: np.ndarray, z: np.ndarray | float) -> np.ndarray:
        """Nats a squared unit of log rate, at these log tokens about their mean."""
        return np.exp(np.clip(p[STEEP] + p[STEEPENING] * z, -20, 20))

    def valley(self, distance: np.ndarray, skew: float) -> np.ndarray:
        """Heights above the lowest point for a steepness of 1 at these distances in log rate, their
        derivatives by the distance and by the skew (3, ...)."""
        if not self.smooth:
            side = np.where(distance > 0, 0.5, -0.5)
            lean = np.exp(side * min(max(skew, -10.0), 10.0))
            height = distance**2 * lean
            return np.stack([height, 2 * distance * lean, side * height])
        a = BENT * skew
        if abs(a) < 1e-3:
            cubed = distance**3
            return np.stack(
                [distance**2 + a * cubed / 3, 2 * distance + a * distance**2, BENT * cubed / 3]
            )
        bend = np.clip(a * distance, -40.0, 40.0)
        rise = np.expm1(bend)
        height = (rise - bend) * 2 / a**2
        by_skew = BENT * (2 * distance * rise / a**2 - 2 * height / a)
        return np.stack([height, 2 * rise / a, by_skew])

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Of losses and priors, each divided by its standard deviation."""
        misses = self.whiten @ (self.losses.loss - self.predicted(p))
        return np.concatenate([misses, self._prior @ (p - self.prior_mean)])

    def predicted(self, p: np.ndarray) -> np.ndarray:
        """The losses as they would be without luck, in nats (n)."""
        own = self.losses.own
        height = self.valley(self.losses.x - self.heights(p)[own], p[SKEW])[0]
        return p[OWN + self.count :][own] + self.steepness(p, self.z[:, 0])[own] * height

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals."""
        own, z = self.losses.own, self.z[:, 0]
        height, slope, by_skew = self.valley(self.losses.x - self.heights(p)[own], p[SKEW])
        steep = self.steepness(p, z)[own]
        moved = -steep * slope
        by = np.concatenate(
            [
                moved[:, None] * self._line[own],
                np.stack([steep * height, steep * height * z[own], steep * by_skew], axis=1),
                moved[:, None] * self._is_own,
                self._is_own,
            ],
            axis=1,
        )
        return np.concatenate([-self.whiten @ by, self._prior])

    def start(self, skew: float) -> np.ndarray:
        """Parameters to begin with: through the rungs' lowest losses."""
        losses, p = self.losses, self.prior_mean.copy()
        rungs = [np.flatnonzero(losses.own == r) for r in range(self.count)]
        best = np.array([r[losses.mean[r].argmin()] for r in rungs])
        z, lows = self.z[:, 0], losses.x[best]
        if np.ptp(z) > 0:
            p[SLOPE] = float(np.clip(np.polyfit(z, lows, 1)[0], -0.5, 0.5))
        p[TARGET] = lows.mean() + p[SLOPE] * self.to[0] + WIDTH_MEAN * self.to[1]
        p[SKEW] = skew
        p[OWN + self.count :] = losses.mean[best]
        return p

    def covariance(self, p: np.ndarray) -> np.ndarray:
        """Of the parameters, by the curvature of the likelihood at `p` (P, P)."""
        j = self.jacobian(p)
        return np.linalg.pinv(j.T @ j)
