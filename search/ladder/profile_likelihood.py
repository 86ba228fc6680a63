"""Intervals by profile likelihood (Venzon & Moolgavkar 1988): all values of one parameter that the
data and the priors don't rule out, whatever the others are.

Pure functions; no torch, no Ray. Shapes: P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MOST_DOUBLINGS = 8
"""Of the first step away from the best value, until an end counts as open."""
PRECISION = 0.02
"""Of an end, as a share of its distance from the best value."""


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

    `step` is how far to look at first. An end that isn't found after `MOST_DOUBLINGS` is the last
    value that was looked at: by then it is so far away that it bounds nothing.
    """
    best = min(fits, key=lambda fit: fit.cost)
    most, middle = best.cost + limit, float(best.parameters[0])
    low, high = (_end(list(fits), most, middle, sign * step) for sign in (-1, 1))
    return low, high


def _end(fits: list[Fit], most: float, middle: float, step: float) -> float:
    """Where the cost rises above `most`, in the direction of `step`."""

    def cost(value: float) -> float:
        nonlocal fits
        fits = [fitted(fit.problem, fit.parameters, value) for fit in fits]
        return min(fit.cost for fit in fits)

    return _crossing(cost, most, middle, step)


def _crossing(cost: Callable[[float], float], most: float, inside: float, step: float) -> float:
    """A point between one inside and one outside of the limit, narrowed by halving."""
    outside = inside + step
    for _ in range(MOST_DOUBLINGS):
        if cost(outside) > most:
            break
        inside, step = outside, 2 * step
        outside = inside + step
    else:
        return outside
    whole = abs(step) if step else 1.0
    while abs(outside - inside) > PRECISION * max(whole, 1.0):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if cost(middle) <= most else (inside, middle)
    return (inside + outside) / 2
