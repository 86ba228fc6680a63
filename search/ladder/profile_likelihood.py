"""Intervals by profile likelihood (Venzon & Moolgavkar 1988): all values of one parameter that the
data and the priors don't rule out, whatever the others are.

Pure functions; no torch, no Ray. Shapes: P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MOST_DOUBLINGS, MOST_STEPS = 8, 12
"""Of the search for an end: outwards, and then between a value inside and one outside."""
PRECISION = 0.02
"""Of an end, in standard deviations, or as a share of the last step outwards."""


class Problem(Protocol):
    """A least-squares problem, whose parameter 0 is the one in question."""

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Of data and priors, each divided by its standard deviation, for parameters (P)."""

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """Their derivatives (residuals, P)."""


@dataclass(frozen=True)
class Fit:
    """The best parameters of a problem and twice their negative log likelihood."""

    problem: Problem
    parameters: np.ndarray
    cost: float


def fitted(problem: Problem, start: np.ndarray, value: float | None = None) -> Fit:
    """The parameters that fit best from `start` (P) on; with parameter 0 held at `value` if one is
    given."""
    from scipy.optimize import least_squares  # a third of a second, which most commands don't need

    p, first = start.copy(), 0 if value is None else 1
    if value is not None:
        p[0] = value

    def whole(q: np.ndarray) -> np.ndarray:
        return np.concatenate([p[:first], q])

    found = least_squares(
        lambda q: problem.residuals(whole(q)),
        p[first:],
        jac=lambda q: problem.jacobian(whole(q))[:, first:],
        method="lm",
        max_nfev=400,
    )
    return Fit(problem, whole(found.x), 2 * float(found.cost))


def interval(fits: Sequence[Fit], limit: float, step: float) -> tuple[float, float]:
    """The values of parameter 0 at which the best of several problems, each fitted already, costs
    at most `limit` more than the best of all.

    `step` is where to look first: how far off the ends are if the likelihood is normal. An end that
    isn't found by `MOST_DOUBLINGS` of it is the last value that was looked at: by then it is so far
    away that it bounds nothing.
    """
    best = min(fits, key=lambda fit: fit.cost)
    least, middle = best.cost, float(best.parameters[0])
    low, high = (_end(list(fits), least, limit, middle, sign * step) for sign in (-1, 1))
    return low, high


def _end(fits: list[Fit], least: float, limit: float, middle: float, step: float) -> float:
    """Where the cost is `limit` above the least, in the direction of `step` from the middle."""

    def beyond(value: float) -> float:
        """The root of the excess, which is straight where the likelihood is normal, less its value
        at the limit."""
        nonlocal fits
        fits = [fitted(fit.problem, fit.parameters, value) for fit in fits]
        excess = min(fit.cost for fit in fits) - least
        return math.sqrt(max(excess, 0.0)) - math.sqrt(limit)

    return _crossing(beyond, (middle, -math.sqrt(limit)), step)


def _crossing(beyond: Callable[[float], float], inside: tuple[float, float], step: float) -> float:
    """Where `beyond` is 0, from a point inside with its value on: outwards until there is a point
    outside, then by straight lines between the two."""
    at = inside[0] + step
    for _ in range(MOST_DOUBLINGS):
        value = beyond(at)
        if value > 0:
            break
        inside, step = (at, value), 2 * step
        at = at + step
    else:
        return at
    outside = at, value
    for _ in range(MOST_STEPS):
        if abs(value) < PRECISION or abs(outside[0] - inside[0]) < PRECISION * abs(step):
            break
        share = inside[1] / (inside[1] - outside[1])
        at = inside[0] + min(max(share, 0.05), 0.95) * (outside[0] - inside[0])
        value = beyond(at)
        inside, outside = ((at, value), outside) if value <= 0 else (inside, (at, value))
    return at
