"""What the ridge says at a target: the best learning rate there, its interval, and the valley."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minigpt_search.search.ladder.profile_likelihood import Fit, fitted, interval
from minigpt_search.search.ladder.ridge import (
    OWN,
    PRIOR_DF,
    PRIOR_SD,
    RUNG_SD,
    SKEW,
    SLOPE,
    STARTS,
    TARGET,
    Losses,
    Ridge,
)

CONFIDENCE = 0.95
FURTHEST = 30.0
"""Of a logarithm of a rate, from 0: a rate of 1e-13 or 1e13."""


@dataclass(frozen=True, kw_only=True)
class RateAhead:
    """The best learning rate at a target, as the rungs tell it."""

    tokens: float
    width: float
    rate: float
    low: float
    """Ends of its 95% interval."""
    high: float
    slope: float
    """Exponent of the best rate in tokens, about the rungs' middle."""
    slope_sd: float
    below: float
    """How far below the best rate, in log rate, the loss is `delta` above the lowest."""
    above: float
    sd: float
    """Nats between seeds, what the valleys miss the losses by included."""
    floors: np.ndarray
    """The lowest loss of each rung in nats (R), in the order of `Losses.cells`."""
    floors_covariance: np.ndarray
    """(R, R)"""
    ridge: np.ndarray
    """The best log rate of each rung (R)."""
    ridge_sd: np.ndarray
    """(R)"""
    fit: Fit
    """The family that fits best, with its parameters."""

    @property
    def factor(self) -> float:
        """The interval's ends, the one divided by the other."""
        return self.high / self.low


def rate_ahead(losses: Losses, target: tuple[float, float], delta: float) -> RateAhead:
    """The best rate at `target` (tokens, width); `delta` in nats. There must be two rungs or more,
    with a loss each."""
    fits, variance, df = _fits(losses, target)
    best = min(fits, key=lambda fit: fit.cost)
    ridge, p = best.problem, best.parameters
    assert isinstance(ridge, Ridge)
    covariance = ridge.covariance(p)
    half = quantile(df) * math.sqrt(covariance[TARGET, TARGET])
    low, high = interval(fits, quantile(df) ** 2, half)
    # The target's best rate lies off the ridge too, as a rung's; one that is a rung is that rung's.
    own = 0.0 if ridge.is_rung else quantile(df) * RUNG_SD
    low = p[TARGET] - math.hypot(p[TARGET] - low, own)
    high = p[TARGET] + math.hypot(high - p[TARGET], own)
    floors = slice(OWN + ridge.count, None)
    by_rung = ridge.by_rung
    of_ridge = covariance[: by_rung.shape[1], : by_rung.shape[1]]
    steep = float(ridge.steepness(p, ridge.to[0]))
    below, above = _half_widths(ridge, p[SKEW], delta / steep)
    return RateAhead(
        tokens=target[0],
        width=target[1],
        rate=_rate(p[TARGET]),
        low=_rate(low),
        high=_rate(high),
        slope=float(p[SLOPE]),
        slope_sd=math.sqrt(covariance[SLOPE, SLOPE]),
        below=below,
        above=above,
        sd=math.sqrt(variance),
        floors=p[floors],
        floors_covariance=covariance[floors, floors],
        ridge=ridge.heights(p),
        ridge_sd=np.sqrt(np.einsum("ri,ij,rj->r", by_rung, of_ridge, by_rung)),
        fit=best,
    )


def rate_at(losses: Losses, target: tuple[float, float]) -> float:
    """The best rate at `target` without its interval, which takes most of the time."""
    fits, _, _ = _fits(losses, target)
    return _rate(min(fits, key=lambda fit: fit.cost).parameters[TARGET])


def _rate(logarithm: float) -> float:
    """The rate, within what flat valleys leave open: an end beyond is no end."""
    return math.exp(min(max(logarithm, -FURTHEST), FURTHEST))


def _fits(losses: Losses, target: tuple[float, float]) -> tuple[list[Fit], float, float]:
    """The best fit of each family, the variance between seeds and its degrees of freedom: of
    replicates, of what the valleys miss the losses by, and of the prior."""
    squares, replicated = losses.squares
    df = float(replicated)
    variance = (squares + PRIOR_DF * PRIOR_SD**2) / (df + PRIOR_DF)
    first = _both(losses, target, variance)
    best = min(first, key=lambda fit: fit.cost)
    assert isinstance(best.problem, Ridge)
    misses = best.problem.residuals(best.parameters)[: len(losses.loss)]
    count = len(losses.loss)
    more = max(0.0, count - df - effective_parameters(best, count))
    rest = float((misses**2).sum()) * variance - squares
    df += PRIOR_DF + more
    variance = (squares + PRIOR_DF * PRIOR_SD**2 + max(rest, 0.0) * (more > 0)) / df
    return _both(losses, target, variance, [fit.parameters for fit in first]), variance, df


def effective_parameters(fit: Fit, n: int) -> float:
    """How many parameters the data decide: the trace of the hat matrix of their residuals, the
    first `n` (a prior takes a part of its parameter away)."""
    j = fit.problem.jacobian(fit.parameters)
    hat = j[:n] @ np.linalg.pinv(j.T @ j) @ j[:n].T
    return float(np.trace(hat))


def _both(
    losses: Losses,
    target: tuple[float, float],
    variance: float,
    known: list[np.ndarray] | None = None,
) -> list[Fit]:
    """The best fit of each family; from `known` parameters if there are."""
    found = []
    for number, smooth in enumerate((False, True)):
        ridge = Ridge(losses, target, smooth, variance)
        starts = [ridge.start(skew) for skew in STARTS] if known is None else [known[number]]
        found.append(min((fitted(ridge, p) for p in starts), key=lambda fit: fit.cost))
    return found


def quantile(df: float) -> float:
    """Student's t with so many degrees of freedom, of an interval of `CONFIDENCE`."""
    from scipy.special import stdtrit  # a third of a second, which most commands don't need

    return float(stdtrit(df, 0.5 + CONFIDENCE / 2))


def _half_widths(ridge: Ridge, skew: float, height: float) -> tuple[float, float]:
    """How far below and above its lowest point a valley of steepness 1 is `height` high, up to a
    factor of 30 in the rate."""
    distance = np.linspace(0, math.log(30), 2000)
    rises = [ridge.valley(sign * distance, skew)[0] for sign in (-1, 1)]
    below, above = (float(np.interp(height, np.maximum.accumulate(r), distance)) for r in rises)
    return below, above
