"""The best learning rate, and the rates within δ of it: a valley through all replicates.

Valleys of learning rates rise faster above than below. A parabola with Fieller's interval held the
true rate of such valleys in 0 to 87 of 100 where it promised 95, the less the more seeds there
were. So two families of valleys are taken together: a parabola of its own steepness on either side,
and a smooth one (the "linex" curve: Varian 1975), each as skewed as the losses say. The further a
rate's loss lies above the lowest, the less it counts, since no simple curve goes on forever. A
normal prior on the skew makes three rates enough; what isn't known of it widens the interval.

Intervals are by profile likelihood (Venzon & Moolgavkar 1988): all values that the losses don't
rule out, whatever the other numbers of the valley. Where every valley misses the rates' means by
more than seeds explain (a lack-of-fit test: Draper & Smith 1998, section 2.1) there is no interval.
They hold in 94 to 100 of 100 simulated grids (`tests/search/results/test_coverage.py`).
Pure functions; no torch, no Ray.

Shapes: m rates, V lowest points, S skews.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minigpt_search.search.results.statistics import ALPHA, CONFIDENCE, PRIOR_SD, t_quantile

NEAREST, NEAR = 5, 4.0
"""The valley goes through the rates within this factor of the lowest, and through so many where
fewer lie there. Of a sampler's many rates the nearest five lie so close that the lowest is so by
luck, and whatever lies beside luck curves upwards."""
FLAT = 1e-9
"""Nats that the valley must be deep over its rates to be more than rounding."""
SKEW = math.log(6)
"""Standard deviation of the prior of the logarithm of how much steeper one side is than the other:
of 100 valleys it is more than 6 times in 32."""
BENT = 1.5
"""The bend of a smooth valley for a unit of skew: a valley of bend a is as skewed at a factor of e
from its lowest point as a split one of skew a / 1.5."""
LOOSE = 0.2
"""Standard deviation of what no valley says of a rate's loss, as a share of its height above the
lowest. With none and the family of two parabolas alone intervals held smooth valleys, 4 or 8 times
as steep above, in 0 to 85 of 100, with 7 rates and 3 seeds (2026-11-29)."""
STEP, BEYOND = 0.02, math.log(10)
"""Of the grid of lowest points in log rate, and how far it reaches beyond the rates."""
PRIOR_DF = 4
"""Degrees of freedom that `PRIOR_SD` counts for where no rate has two seeds: other corpora and
sizes have half or twice of it."""
LEAST_SD = 1e-4
"""Nats: losses differ by no less than they are printed with."""
PARAMETERS = 4
"""Of a valley: its lowest point, the loss there, how steep it is, and its skew."""


@dataclass(frozen=True, kw_only=True)
class BestRate:
    """Where the valley is lowest, and which rates are within `delta` of it."""

    rate: float
    low: float | None
    """Ends of its 95% interval; None on a side where the losses don't bound it."""
    high: float | None
    extrapolated: bool
    """Whether it lies outside of the rates tried."""
    rates: int
    """Rates that the valley goes through."""
    delta: float
    """Nats that don't matter."""
    near: tuple[float, float]
    """The rates within `delta` of the lowest loss, by the valley that fits best."""
    near_low: float | None
    """Ends of an interval that holds all of them with 95% confidence; None on a side where it
    reaches the end of the rates tried."""
    near_high: float | None
    fits: bool
    """Whether the valley misses the losses by no more than seeds explain."""

    @property
    def text(self) -> str:
        if not self.fits:
            return "no simple curve fits the losses by rate, so no best one is read off it"
        if self.extrapolated:
            return f"a curve puts the best rate at {self.rate:.2g}, extrapolated beyond those tried"
        low, high = self.near
        ends = (("below", self.near_low), ("above", self.near_high))
        none = " or ".join(f"{side} {end:.2g}" for side, end in ends if end is not None)
        sure = f"none {none} (95%)" if none else "none of those tried is ruled out"
        about = _bounds(self.low, self.high) or "too few points to bound it"
        return (
            f"within {self.delta:g} nats of the best of all rates are {low:.2g} to {high:.2g} by a "
            f"curve, {sure}; it is lowest at {self.rate:.2g} ({about})"
        )

    def rules_out(self, rate: float) -> bool:
        """Whether a rate is surely not among those within `delta` of the curve's lowest loss."""
        below = self.near_low is not None and rate < self.near_low
        above = self.near_high is not None and rate > self.near_high
        return self.fits and not self.extrapolated and (below or above)


def _bounds(low: float | None, high: float | None) -> str:
    """`0.0008 to 0.0012`, `up to 0.0012`, `from 0.0008`; nothing without an end."""
    if low is None:
        return "" if high is None else f"up to {high:.2g}"
    return f"{low:.2g} and above" if high is None else f"{low:.2g} to {high:.2g}"


def best_rate(rates: Sequence[float], losses: Sequence[float], delta: float) -> BestRate | None:
    """From one point a replicate, losses and `delta` in nats. None with fewer than three rates, or
    if the losses don't curve upwards: then there is no lowest point."""
    points = _near_the_lowest(np.log(np.asarray(rates, float)), np.asarray(losses, float))
    if len(points.x) < 3:
        return None
    coarse = _Valleys.around(points)
    at, skew = coarse.best
    if at in (0, len(coarse.vertices) - 1) or coarse.depth[at, skew] < FLAT:
        return None
    fine = coarse.refined(at, skew)
    at, skew = fine.best
    more = max(0, len(points.x) - PARAMETERS)
    rest, (variance, df) = float(fine.rest[at, skew]), points.noise
    fits = _seeds_explain(rest, more, variance, df)
    if not points.replicated:  # then what the valley misses the points by tells of the spread too
        variance, df = (variance * df + rest * (more > 0)) / (df + more), df + more
    limit = fine.misfit[at, skew] + t_quantile(0.5 + CONFIDENCE / 2, df) ** 2 * variance
    low, high = coarse.lowest_points(limit) if fits else (None, None)
    near_low, near_high = coarse.near(limit, delta) if fits else (None, None)
    vertex = float(fine.vertices[at])
    widths = fine.half_widths(np.array([skew]), fine.steep[[at], [skew]], delta)
    below, above = (float(width[0]) for width in widths)
    return BestRate(
        rate=_exp(vertex),
        low=low,
        high=high,
        extrapolated=not points.x[0] <= vertex <= points.x[-1],
        rates=len(points.x),
        delta=delta,
        near=(_exp(max(vertex - below, points.x[0])), _exp(min(vertex + above, points.x[-1]))),
        near_low=near_low,
        near_high=near_high,
        fits=fits,
    )


def _exp(value: float) -> float:
    return math.exp(min(max(value, -700.0), 700.0))


@dataclass(frozen=True, kw_only=True)
class _Points:
    """The rates, ascending, with the means of their replicates."""

    x: np.ndarray
    """Logarithms of the rates (m)."""
    mean: np.ndarray
    """Mean losses in nats (m)."""
    n: np.ndarray
    """Replicates (m)."""
    squares: float
    """Of the replicates' distances from their means, summed."""

    @property
    def replicated(self) -> bool:
        return bool(self.n.max() > 1)

    @property
    def noise(self) -> tuple[float, int]:
        """Variance between seeds, and its degrees of freedom: of the replicates, or else as it was
        elsewhere."""
        if not self.replicated:
            return PRIOR_SD**2, PRIOR_DF
        df = int((self.n - 1).sum())
        return max(self.squares / df, LEAST_SD**2), df

    @property
    def weights(self) -> np.ndarray:
        """Replicates that each mean is worth (m)."""
        variance, _ = self.noise
        height = self.mean - self.mean.min()
        return variance / (variance / self.n + (LOOSE * height) ** 2)


def _near_the_lowest(x: np.ndarray, y: np.ndarray) -> _Points:
    """The rates around the one with the lowest mean."""
    different, place = np.unique(x, return_inverse=True)
    n = np.bincount(place)
    mean = np.bincount(place, y) / n
    distance = np.abs(different - different[mean.argmin()])
    within = int((distance <= math.log(NEAR) * (1 + 1e-9)).sum())
    kept = np.sort(np.argsort(distance, kind="stable")[: max(NEAREST, within)])
    inside = np.isin(place, kept)
    squares = float(((y - mean[place])[inside] ** 2).sum())
    return _Points(x=different[kept], mean=mean[kept], n=n[kept], squares=squares)


@dataclass(frozen=True)
class _Valleys:
    """For each lowest point and skew the valley that fits best, of either family."""

    points: _Points
    vertices: np.ndarray
    """Lowest points in log rate (V)."""
    skews: np.ndarray
    """Positive: steeper above (S). None is 0."""
    smooth: np.ndarray
    """Whether the valley is of the smooth family (S)."""

    @classmethod
    def around(cls, points: _Points) -> _Valleys:
        """Valleys on a grid that reaches beyond the rates."""
        skews = np.linspace(-2.5, 2.5, 26) * SKEW
        vertices = np.arange(points.x[0] - BEYOND, points.x[-1] + BEYOND, STEP)
        return cls(points, vertices, np.tile(skews, 2), np.repeat([False, True], len(skews)))

    def refined(self, at: int, skew: int) -> _Valleys:
        """Those between the neighbours of one."""
        vertices = self.vertices[at] + np.linspace(-STEP, STEP, 41)
        step = self.skews[1] - self.skews[0]
        skews = self.skews[skew] + np.linspace(-step, step, 30)
        return _Valleys(self.points, vertices, skews, np.full(len(skews), self.smooth[skew]))

    @cached_property
    def shape(self) -> np.ndarray:
        """Height above the lowest point for a steepness of 1 (V, S, m)."""
        distance = (self.points.x - self.vertices[:, None])[:, None, :]
        skews = self.skews[:, None]
        found = np.empty((len(self.vertices), len(skews), len(self.points.x)))
        split, lean = ~self.smooth, np.exp(skews / 2)
        found[:, split] = distance**2 * np.where(distance > 0, lean[split], 1 / lean[split])
        bend = np.minimum(BENT * skews[self.smooth] * distance, 50.0)
        found[:, self.smooth] = (np.expm1(bend) - bend) * 2 / (BENT * skews[self.smooth]) ** 2
        return found

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Of squares of the shape (V, S), of its products with the means (V, S), of the squares of
        the means; all about their weighted averages."""
        n, y = self.points.weights, self.points.mean
        y = y - n @ y / n.sum()
        squares = self.shape**2 @ n - (self.shape @ n) ** 2 / n.sum()
        return np.maximum(squares, 1e-300), self.shape @ (n * y), float(n @ y**2)

    @cached_property
    def steep(self) -> np.ndarray:
        """Nats a squared unit of log rate (V, S); none below 0."""
        squares, products, _ = self._sums
        return np.maximum(products, 0) / squares

    @cached_property
    def rest(self) -> np.ndarray:
        """Weighted squares that the valley leaves of the rates' means (V, S)."""
        squares, _, of_means = self._sums
        return np.maximum(of_means - self.steep**2 * squares, 0)

    @cached_property
    def misfit(self) -> np.ndarray:
        """The same with what the prior charges for the skew (V, S)."""
        return self.rest + self.points.noise[0] * (self.skews / SKEW) ** 2

    @cached_property
    def depth(self) -> np.ndarray:
        """Nats between the valley's highest and lowest point over the rates (V, S)."""
        return self.steep * np.ptp(self.shape, axis=2)

    @property
    def best(self) -> tuple[int, int]:
        """Which lowest point and skew fit best."""
        at, skew = np.unravel_index(self.misfit.argmin(), self.misfit.shape)
        return int(at), int(skew)

    def lowest_points(self, limit: float) -> tuple[float | None, float | None]:
        """The rates between which a valley with a misfit up to `limit` is lowest; None where that
        reaches the end of the grid. Between its points the least misfit is taken for straight."""
        least = self.misfit.min(axis=1)
        inside = np.flatnonzero(least <= max(limit, least.min()))
        ends: list[float | None] = []
        for last, step in ((inside[0], -1), (inside[-1], 1)):
            if not 0 <= last + step < len(least):
                ends.append(None)
                continue
            share = (limit - least[last]) / (least[last + step] - least[last])
            ends.append(_exp(self.vertices[last] + step * STEP * min(max(share, 0.0), 1.0)))
        return ends[0], ends[1]

    def near(self, limit: float, delta: float) -> tuple[float | None, float | None]:
        """Outermost rates within `delta` of the best by any valley with a misfit up to `limit`, the
        shallowest of each lowest point and skew; None beyond the rates. Each end is wrong in 2.5
        of 100."""
        at, skew = np.nonzero(self.misfit <= max(limit, self.misfit.min()))
        slack = np.sqrt(np.maximum(limit - self.misfit[at, skew], 0) / self._sums[0][at, skew])
        below, above = self.half_widths(skew, self.steep[at, skew] - slack, delta)
        low, high = (self.vertices[at] - below).min(), (self.vertices[at] + above).max()
        first, last = self.points.x[0], self.points.x[-1]
        return (_exp(low) if low > first else None, _exp(high) if high < last else None)

    def half_widths(
        self, skew: np.ndarray, steep: np.ndarray, delta: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far below and above its lowest point each valley of these skews and steepnesses is at
        most `delta` higher; infinite where it is flat."""
        from scipy.special import lambertw  # a third of a second, which most commands don't need

        height = delta / np.maximum(steep, 1e-12)
        lean = np.exp(self.skews[skew] / 4)
        below, above = np.sqrt(height) * lean, np.sqrt(height) / lean
        smooth = self.smooth[skew]
        # Of a smooth valley exp(u) - 1 - u = q, which Lambert's W solves.
        bend = BENT * self.skews[skew][smooth]
        q = np.minimum(height[smooth] * bend**2 / 2, 500.0)
        minus, plus = (-1 - q - lambertw(-np.exp(-1 - q), branch).real for branch in (0, -1))
        below[smooth] = np.where(bend > 0, -minus, plus) / np.abs(bend)
        above[smooth] = np.where(bend > 0, plus, -minus) / np.abs(bend)
        return np.where(steep > 0, below, np.inf), np.where(steep > 0, above, np.inf)


def _seeds_explain(rest: float, more: int, variance: float, df: int) -> bool:
    """Whether seeds explain what the valley misses `more` rates than it has parameters by."""
    from scipy.special import fdtrc

    return more < 1 or bool(fdtrc(more, df, rest / more / variance) >= ALPHA)
