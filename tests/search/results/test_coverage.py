"""How often what the answer says holds, by simulation: one script, one seed.

    python tests/search/results/test_coverage.py            # the tables of docs/noise.md, minutes
    python tests/search/results/test_coverage.py --repeats 50
    python -m pytest tests/search/results/test_coverage.py  # the same in short, with bounds

Seeds differ by a standard deviation of 0.03 nats unless a row says another. Coverage is the
share of the simulated searches whose interval holds the truth; one without an end on a side holds
whatever lies there.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # from the checkout

from minigpt_search.search.results.best_rate import best_rate

SEED = 17
NOISE, DELTA = 0.03, 0.01
BEST = 1.1e-3
FOUR = (3e-4, 5e-4, 1e-3, 2e-3)
SEVEN = tuple(1e-3 * 2.0**i for i in range(-3, 4))
REPEATS = 1000
Curve = Callable[[np.ndarray], np.ndarray]
"""Nats above the best at distances in log rate."""


def split(steeper: float, curvature: float) -> Curve:
    """A parabola below, one `steeper` times as steep above."""
    return lambda x: curvature * np.where(x > 0, steeper, 1) * x**2


def smooth(steeper: float, curvature: float) -> Curve:
    """A smooth valley that is about `steeper` times as high above as below at a factor of e."""
    a = max(1.5 * math.log(steeper), 1e-3)
    return lambda x: curvature * 2 / a**2 * (np.exp(a * x) - 1 - a * x)


def shoulder(steeper: float, curvature: float) -> Curve:
    """Straight in log rate far below the best, a parabola above: neither family that is fitted."""
    return lambda x: curvature * np.where(x > 0, steeper * x**2, 2 * (np.sqrt(1 + x**2) - 1))


def rate_coverage(
    curve: Curve, rates: Sequence[float], seeds: int, repeats: int
) -> tuple[float, float, float]:
    """The coverage of the best rate's interval and of that of the rates within `DELTA`, and the
    share of searches that have the first with both ends."""
    chance = np.random.default_rng(SEED)
    x = np.linspace(-6, 6, 120_001)
    near = np.exp(x[curve(x) <= DELTA]) * BEST
    losses = np.repeat(7.3 + curve(np.log(np.array(rates) / BEST)), seeds)
    held = held_near = both = told = 0
    for _ in range(repeats):
        noisy = losses + chance.normal(0, NOISE, len(losses))
        found = best_rate(np.repeat(rates, seeds).tolist(), noisy.tolist(), DELTA)
        if found is None or not found.fits:
            continue
        told += 1
        held += (found.low or 0) <= BEST <= (found.high or 1e9)
        held_near += (found.near_low or 0) <= near[0] and near[-1] <= (found.near_high or 1e9)
        both += found.low is not None and found.high is not None
    return held / told, held_near / told, both / repeats


@pytest.mark.parametrize(
    ("curve", "rates", "seeds"),
    [
        (split(1, 0.2), FOUR, 3),
        (split(2, 0.2), FOUR, 3),
        (split(8, 0.2), FOUR, 3),
        (split(8, 0.2), SEVEN, 3),
        (smooth(8, 0.2), SEVEN, 3),
        (shoulder(4, 0.05), SEVEN, 3),
        (split(8, 0.05), FOUR, 1),
    ],
    ids=["even", "x2", "x8", "x8, 7 rates", "smooth x8", "shoulder x4", "one seed"],
)
def test_the_best_rate_and_the_rates_near_it_are_held(
    curve: Curve, rates: Sequence[float], seeds: int
) -> None:
    """A parabola held the best of those in the middle in 11 to 85 of 100."""
    held, near, _ = rate_coverage(curve, rates, seeds, 100)
    assert held >= 0.91 and near >= 0.91  # of 95: 90 and fewer with probability 0.03


def print_rates(repeats: int) -> None:
    print("\nbest rate: coverage of its interval, of the rates near it, with both ends")
    for name, family in (("split", split), ("smooth", smooth), ("shoulder", shoulder)):
        for curvature in (0.2, 0.05):
            for steeper in (1, 2, 4, 8):
                row = []
                for rates, seeds in ((FOUR, 1), (FOUR, 3), (SEVEN, 3), (SEVEN, 8)):
                    found = rate_coverage(family(steeper, curvature), rates, seeds, repeats)
                    row.append(" ".join(f"{value:4.0%}" for value in found))
                print(f"{name:9}{curvature:5} x{steeper}  ", "   ".join(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="the tables of docs/noise.md")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    args = parser.parse_args()
    print_rates(args.repeats)


if __name__ == "__main__":
    main()
