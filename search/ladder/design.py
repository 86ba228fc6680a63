"""How well a ladder will tell the best rate at its target, before any of it is trained.

The linear-Gaussian approximation of the fit, with its priors, at a valley such as is expected: what
is called Bayesian D-optimal design of one parameter (Chaloner & Verdinelli 1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minigpt_search.search.ladder.best_rate_ahead import quantile
from minigpt_search.search.ladder.ridge import (
    PRIOR_DF,
    PRIOR_SD,
    RUNG_SD,
    SKEW,
    TARGET,
    Losses,
    Ridge,
)
from minigpt_search.search.space.ladder_spec import LATTICE_STEP, SPACING, LadderSpec

EXPECTED_SKEW = math.log(2)
"""Of the valley that a design is reckoned with: twice as steep above."""


def expected_factor(
    spec: LadderSpec, widths: Sequence[int], target: tuple[float, float], epochs: int, seeds: int
) -> float:
    """The interval's upper end over its lower one, to expect of the best rate at `target` (tokens,
    width): by the rungs of its own width, if there are such, since others make it no surer."""
    widths = [width for width in widths if width == target[1]] or widths
    distance = np.array(spec.offsets) * math.log(LATTICE_STEP)
    distance = distance - SPACING * math.log(LATTICE_STEP) / 2 * (spec.rates % 2 == 0)
    cells = [(tokens * epochs, width) for tokens in spec.rungs for width in widths]
    rows = [(*cell, math.exp(x), seed) for cell in cells for x in distance for seed in range(seeds)]
    tokens, width, rate, seed = np.array(rows, float).T
    flat = Losses(tokens, width, rate, np.zeros(len(rows)))
    ridge = Ridge(flat, target, smooth=False, variance=PRIOR_SD**2)
    p = ridge.start(EXPECTED_SKEW)
    # At the valley's own losses, so that heights and weights are what they will be.
    p[: SKEW - 2] = 0.0
    p[TARGET] = 0.0
    trunks = _all_shared(width, rate, seed) if spec.trunks else None
    expected = Losses(tokens, width, rate, ridge.predicted(p), trunks)
    ridge = Ridge(expected, target, smooth=False, variance=PRIOR_SD**2)
    sd = math.hypot(math.sqrt(ridge.covariance(p)[TARGET, TARGET]), RUNG_SD)
    more = max(0.0, len(rows) - 2.0 * len(cells) - 3)
    return math.exp(2 * quantile(PRIOR_DF + more) * sd)


def _all_shared(width: np.ndarray, rate: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The trunks of rungs that all have the same rates (n, 2)."""
    trunk = np.unique(np.stack([width, rate, seed]), axis=1, return_inverse=True)[1].ravel()
    place = [int((trunk[:n] == own).sum()) for n, own in enumerate(trunk)]
    return np.stack([trunk, place], axis=1)
