"""Curves through the results: the best learning rate by a parabola, and loss by a power law.

A parabola in the logarithm of the rate is the second-order picture of any smooth valley, and its
lowest point has an interval by Fieller's theorem (1954). Loss falls with epochs, parameters and
tokens about as L = E + A·x^-a (Hestness et al. 2017, arXiv 1712.00409; Hoffmann et al. 2022, arXiv
2203.15556, equation 2). What lies outside of what was tried is marked as extrapolated, and a law
says how wrong it would have been on the last point without it. Pure functions; no torch, no Ray.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigpt_search.search.results.statistics import CONFIDENCE, t_quantile

NEAREST, NEAR = 5, 4.0
"""A parabola goes through the rates within this factor of the lowest, and through so many where
fewer lie there: far from it a valley is no parabola. Of a sampler's many rates the nearest five lie
so close that the lowest is so by luck, and whatever lies beside luck curves upwards."""
FLAT = 1e-9
"""Nats that a curve must bend over its rates to be more than rounding."""
STEEPEST = 5.0
"""Largest exponent of a power law: beyond it the last point alone would be the level."""


@dataclass(frozen=True, kw_only=True)
class BestRate:
    """Where a parabola in log rate is lowest."""

    rate: float
    low: float | None
    """Ends of its 95% interval; None where the points are too few or too scattered to bound it."""
    high: float | None
    extrapolated: bool
    """Whether it lies outside of the rates tried."""
    rates: int
    """Rates that the parabola goes through."""

    @property
    def text(self) -> str:
        if self.extrapolated:
            return (
                f"a parabola puts the best rate at {self.rate:.2g}, extrapolated beyond those tried"
            )
        bounds = "too few points to bound it"
        if self.low is not None and self.high is not None:
            bounds = f"{self.low:.2g} to {self.high:.2g}"
        return f"a parabola puts the best rate at {self.rate:.2g} ({bounds})"


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> BestRate | None:
    """From one point a replicate. None with fewer than three rates, or if the losses don't curve
    upwards: then there is no lowest point."""
    x, y = np.log(np.asarray(rates, float)), np.asarray(losses, float)
    different = np.unique(x)
    if len(different) < 3:
        return None
    lowest = min(different, key=lambda value: y[x == value].mean())
    nearest = sorted(different, key=lambda value: abs(value - lowest))
    within = sum(abs(value - lowest) <= math.log(NEAR) * (1 + 1e-9) for value in nearest)
    nearest = nearest[: max(NEAREST, within)]
    x, y = x[np.isin(x, nearest)], y[np.isin(x, nearest)]
    centre = x.mean()
    design = np.vander(x - centre, 3)  # columns x², x, 1
    (a, b, _), *_ = np.linalg.lstsq(design, y, rcond=None)
    if a * np.ptp(x) ** 2 < FLAT:
        return None
    vertex = -b / (2 * a)
    low, high = _fieller(design, y, a, b)
    at = [None if end is None else _exp(centre + end) for end in (low, high)]
    return BestRate(
        rate=_exp(centre + vertex),
        low=at[0],
        high=at[1],
        extrapolated=not x.min() <= centre + vertex <= x.max(),
        rates=len(nearest),
    )


def _exp(value: float) -> float:
    return math.exp(min(max(value, -700.0), 700.0))


def _fieller(
    design: np.ndarray, y: np.ndarray, a: float, b: float
) -> tuple[float | None, float | None]:
    """The vertices v that the points don't rule out: those where the slope b + 2av is within t
    standard errors of zero. Bounded only if the curvature is surely positive."""
    df = len(y) - 3
    if df < 1:
        return None, None
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    covariance = np.linalg.inv(design.T @ design) * (rest @ rest) / df
    t2 = t_quantile(0.5 + CONFIDENCE / 2, df) ** 2
    # (b + 2av)² = t² (Vbb + 4v Vab + 4v² Vaa), a quadratic in v
    second = 4 * (a * a - t2 * covariance[0, 0])
    first = 4 * (a * b - t2 * covariance[0, 1])
    zeroth = b * b - t2 * covariance[1, 1]
    inside = first * first - 4 * second * zeroth
    if second <= 0 or inside < 0:
        return None, None
    root = math.sqrt(inside)
    return (-first - root) / (2 * second), (-first + root) / (2 * second)


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """L = E + A·(x / scale)^-a."""

    what: str
    """What x is: epochs, parameters, tokens."""
    floor: float
    """E, in nats; 0 where three points allow two numbers only."""
    amplitude: float
    """A, in nats: what lies above the floor at `scale`."""
    exponent: float
    scale: float
    largest: float
    """The largest x tried: beyond it the law is extrapolated."""
    held_out_error: float | None
    """Predicted minus found loss at the largest x, by the law without that point; None where it
    leaves too few."""

    def __call__(self, x: float) -> float:
        """Predicted loss in nats."""
        return self.floor + self.amplitude * float((x / self.scale) ** -self.exponent)

    @property
    def text(self) -> str:
        x = 2 * self.largest
        error = (
            "too few points to hold one out"
            if self.held_out_error is None
            else f"without the last point it would have missed it by {self.held_out_error:+.3f}"
        )
        return (
            f"a power law in {self.what} (exponent {self.exponent:.2g}, floor {self.floor:.3g} "
            f"nats) extrapolates to {self(x):.3f} nats at {x:,.6g} {self.what}; {error}"
        )


def power_law(what: str, sizes: Sequence[float], losses: Sequence[float]) -> PowerLaw | None:
    """Through one point a replicate: three numbers from four different sizes on, without the floor
    with three. None with fewer, if it does not fall, or if no law can be fitted."""
    x, y = np.asarray(sizes, float), np.asarray(losses, float)
    found = _fit(x, y)
    if found is None:
        return None
    floor, amplitude, exponent, scale = found
    largest = float(x.max())
    without = _fit(x[x < largest], y[x < largest])
    error = None
    if without is not None:
        e, a, power, s = without
        error = e + a * (largest / s) ** -power - float(y[x == largest].mean())
    return PowerLaw(
        what=what,
        floor=floor,
        amplitude=amplitude,
        exponent=exponent,
        scale=scale,
        largest=largest,
        held_out_error=error,
    )


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float] | None:
    """Floor, amplitude, exponent and the scale they are for."""
    different = np.unique(x)
    if len(different) < 3:
        return None
    scale = float(np.exp(np.log(different).mean()))
    z = np.log(x / scale)
    slope, level = np.polyfit(z, np.log(y), 1)
    if slope >= 0:
        return None
    if len(different) == 3:
        return 0.0, math.exp(level), -float(slope), scale
    from scipy.optimize import OptimizeWarning, curve_fit

    def law(z: np.ndarray, floor: float, amplitude: float, exponent: float) -> np.ndarray:
        return floor + amplitude * np.exp(-exponent * z)

    start = (0.9 * y.min(), y.mean() - 0.9 * y.min(), 0.5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            found, _ = curve_fit(
                law, z, y, p0=start, bounds=((0, 0, 1e-3), (y.min(), np.inf, STEEPEST))
            )
    except (RuntimeError, ValueError, OptimizeWarning):
        return None
    return float(found[0]), float(found[1]), float(found[2]), scale
