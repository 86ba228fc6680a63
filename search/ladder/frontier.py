"""The loss of a longer run at its best rate: a power law through the rungs' lowest losses.

    loss = E + B tokens^-b               of one width
    loss = E + B tokens^-b + A width^-a  of several

This is the form of Hoffmann et al. 2022 (arXiv 2203.15556). All runs repeat their text as often as
the target does, so what repetition takes (Muennighoff et al. 2023, arXiv 2305.16264) is in B. For
the interval the loss at the target is a parameter in place of E. Where the rungs lie farther off
such a curve than their errors explain, all errors grow by what is called the Birge ratio, or the
scale factor of the Particle Data Group.

Pure functions; no torch, no Ray. Shapes: R rungs, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigpt_search.search.ladder.best_rate_ahead import effective_parameters, quantile
from minigpt_search.search.ladder.profile_likelihood import Fit, fitted, interval
from minigpt_search.search.ladder.ridge import PRIOR_DF

EXPONENT_MEAN, EXPONENT_SD = math.log(0.25), 0.6
"""Prior of the logarithm of b: 0.28 to 0.37 (Hoffmann et al. 2022; Besiroglu et al. 2024, arXiv
2404.10102), 0.095 with E = 0 (Kaplan et al. 2020, arXiv 2001.08361)."""
WIDTH_EXPONENT_MEAN, WIDTH_EXPONENT_SD = math.log(0.6), 0.6
"""Prior of the logarithm of a: 0.34 in parameters (Hoffmann et al. 2022), of which a block has as
many as the square of its width."""
AMPLITUDE_MEAN, AMPLITUDE_SD = math.log(1.5), 1.5
"""Prior of the logarithms of B tokens^-b and A width^-a at the rungs' middle, in nats."""
FLOOR_MEAN, FLOOR_SD = 0.3, 0.15
"""Prior of E as a share of a uniform prediction's loss: of GPT-2's tokens 3.2 ± 1.6 nats, of bytes
1.7 ± 0.8. It is above the text's entropy (1.7 nats a token: Hoffmann et al. 2022) since the width
of a single one is a part of it."""
LACK_SD = 0.02
"""Nats that a rung's lowest loss may lie off a power law, beside what seeds do to it."""
LEAST_FLOOR_SD = 0.005
"""How far E may lie below 0, as a share of that: no loss is negative."""
MISS_SD, MISS_DF = 0.2, 2
"""Nats that a run's loss may lie off the power law through shorter ones, at a distance where
`reach` is 1, and how many rungs that counts for beside those that were predicted. Chosen after
ladders of 25,600 to 4,300,000 tokens, whose rungs were predicted 0.6 too high to 0.3 too low:
small models fall faster for a while than any power law does (docs/ladder.md)."""
LOSS, AMPLITUDE, EXPONENT, WIDTH_AMPLITUDE, WIDTH_EXPONENT = range(5)
"""Places of the parameters; the last two only where there are several widths."""
FIRST_STEP = 0.1
"""Nats, of the search for an interval's ends."""


@dataclass(frozen=True, kw_only=True)
class LossAhead:
    """The loss to expect of one run at its best rate."""

    loss: float
    """Nats."""
    low: float
    """Ends of the 95% interval for one run: seeds' luck is in it."""
    high: float
    exponent: float
    """b."""
    frontier: _Frontier
    parameters: np.ndarray

    def at(self, tokens: np.ndarray, width: float) -> np.ndarray:
        """The expected loss of other runs, in nats."""
        return self.frontier.at(self.parameters, np.log(tokens), math.log(width))


def reach(log_ratio: float) -> float:
    """How far a run lies beyond the largest rung, from the logarithm of how many times its tokens:
    a straight line at first, and 1 at the most, since losses that fell fast slow down again."""
    return 1 - math.exp(-max(log_ratio, 0.0))


def miss_sd(misses: Sequence[float]) -> float:
    """Nats that a power law misses by where `reach` is 1, as a standard deviation, after `misses`
    of rungs that were predicted, each divided by its own reach."""
    squares = sum(miss**2 for miss in misses) + MISS_DF * MISS_SD**2
    return math.sqrt(squares / (len(misses) + MISS_DF))


def loss_ahead(
    cells: np.ndarray,
    floors: np.ndarray,
    covariance: np.ndarray,
    target: tuple[float, float],
    *,
    seed_sd: float,
    missed: float,
    uniform: float,
) -> LossAhead:
    """The loss at `target` (tokens, width).

    Args:
        cells: logarithms of the rungs' tokens and widths (R, 2).
        floors: their lowest losses in nats (R).
        covariance: of these (R, R).
        seed_sd: nats between seeds.
        missed: by what a power law misses (`miss_sd`).
        uniform: nats of a uniform prediction.
    """
    spread = covariance + LACK_SD**2 * np.eye(len(floors))
    problem = _Frontier(cells, floors, spread, target, uniform)
    fit = fitted(problem, problem.start())
    ratio = _birge_ratio(fit, len(floors))
    if ratio > 1:
        problem = _Frontier(cells, floors, ratio * spread, target, uniform)
        fit = fitted(problem, fit.parameters)
    limit = quantile(PRIOR_DF + len(floors)) ** 2
    low, high = interval([fit], limit, FIRST_STEP)
    best = float(fit.parameters[LOSS])
    beyond = reach(math.log(target[0]) - float(cells[:, 0].max()))
    luck = 1.96 * math.hypot(seed_sd, missed * beyond)
    return LossAhead(
        loss=max(best, 0.0),
        low=max(best - math.hypot(best - low, luck), 0.0),
        high=max(best, 0.0) + math.hypot(high - best, luck),
        exponent=float(math.exp(fit.parameters[EXPONENT])),
        frontier=problem,
        parameters=fit.parameters,
    )


def _birge_ratio(fit: Fit, rungs: int) -> float:
    """By how much the rungs' variances are too small for how far they lie off the curve: the mean
    square of their misses, with a prior of 1 that counts for `PRIOR_DF` of them. At least 1."""
    misses = fit.problem.residuals(fit.parameters)[:rungs]
    free = rungs - effective_parameters(fit, rungs)
    return max(1.0, (PRIOR_DF + float(misses @ misses)) / (PRIOR_DF + free))


class _Frontier:
    """The least-squares problem; parameter 0 is the loss at the target."""

    def __init__(
        self,
        cells: np.ndarray,
        floors: np.ndarray,
        spread: np.ndarray,
        target: tuple[float, float],
        uniform: float,
    ) -> None:
        self.floors = floors
        self.centre = cells.mean(axis=0)
        self.z = cells - self.centre
        self.to = np.log(np.array(target)) - self.centre
        self.uniform = uniform
        self._whiten = np.linalg.inv(np.linalg.cholesky(spread))
        several = bool(np.ptp(cells[:, 1]) > 1e-9)
        self.means = np.array([AMPLITUDE_MEAN, EXPONENT_MEAN])
        self.sds = np.array([AMPLITUDE_SD, EXPONENT_SD])
        if several:
            self.means = np.append(self.means, [AMPLITUDE_MEAN, WIDTH_EXPONENT_MEAN])
            self.sds = np.append(self.sds, [AMPLITUDE_SD, WIDTH_EXPONENT_SD])

    def _parts(self, p: np.ndarray, z: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For tokens, and for widths if there are several: B tokens^-b and its derivative by the
        logarithm of b, at places about the rungs' middle (..., 2)."""
        found = []
        for place, axis in ((AMPLITUDE, 0), (WIDTH_AMPLITUDE, 1)):
            if place < len(p):
                power = np.exp(np.clip(p[place + 1], -8, 3))
                value = np.exp(np.clip(p[place] - power * z[..., axis], -30, 30))
                found.append((value, -value * power * z[..., axis]))
        return found

    def predicted(self, p: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Losses at places about the rungs' middle (..., 2)."""
        here, there = self._parts(p, z), self._parts(p, self.to)
        return p[LOSS] + sum(a[0] - b[0] for a, b in zip(here, there, strict=True))

    def at(self, p: np.ndarray, log_tokens: np.ndarray, log_width: float) -> np.ndarray:
        """Losses of other runs."""
        places = np.stack([log_tokens, np.full_like(log_tokens, log_width)], axis=-1)
        return self.predicted(p, places - self.centre)

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Of the floors and the priors, each divided by its standard deviation."""
        missed = self._whiten @ (self.floors - self.predicted(p, self.z))
        floor = p[LOSS] - sum(value for value, _ in self._parts(p, self.to))
        of_floor = (floor / self.uniform - FLOOR_MEAN) / FLOOR_SD
        below = min(floor / self.uniform, 0.0) / LEAST_FLOOR_SD
        return np.concatenate([missed, (p[1:] - self.means) / self.sds, [of_floor, below]])

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals."""
        here, there = self._parts(p, self.z), self._parts(p, self.to)
        columns, last = [np.ones(len(self.floors))], [1.0]
        for (value, by_power), (at, at_power) in zip(here, there, strict=True):
            columns += [value - at, by_power - at_power]
            last += [-float(at), -float(at_power)]
        made = -self._whiten @ np.stack(columns, axis=1)
        priors = np.concatenate([np.zeros((len(self.sds), 1)), np.diag(1 / self.sds)], axis=1)
        by_floor = np.array(last) / self.uniform
        floor = p[LOSS] - sum(value for value, _ in there)
        below = by_floor / LEAST_FLOOR_SD * (floor < 0)
        return np.concatenate([made, priors, [by_floor / FLOOR_SD, below]])

    def start(self) -> np.ndarray:
        """Parameters to begin with: the priors' means, through the rungs' middle."""
        p = np.concatenate([[0.0], self.means])
        p[LOSS] = float(np.mean(self.floors - self.predicted(p, self.z)))
        return p


def counting_ahead(tokens: Sequence[float], losses: Sequence[float], at: np.ndarray) -> np.ndarray:
    """What a table of counts scores on texts of other sizes: between those counted, and beyond
    them, a straight line in the logarithm of the size."""
    x, y = np.log(np.asarray(tokens, float)), np.asarray(losses, float)
    found = np.interp(np.log(at), x, y)
    if len(x) > 1:
        slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
        found = np.where(np.log(at) > x[-1], y[-1] + slope * (np.log(at) - x[-1]), found)
    return found
