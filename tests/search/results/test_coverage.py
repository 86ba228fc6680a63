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
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtrit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # from the checkout

from minigpt_search.search.results.best_rate import best_rate
from minigpt_search.search.results.posterior import EXCLUDED, shrunk
from minigpt_search.search.results.statistics import (
    compare_means,
    fair_means,
    late_levels,
    level,
    separates,
)

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


def _slow(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


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
    """A parabola held the best of those in the middle in 0 to 17 of 100."""
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


def draw(chance: np.random.Generator, k: int, seeds: int, correlation: float) -> np.ndarray:
    """Standard normal (k, seeds); those of one seed are correlated."""
    own = chance.standard_normal((k, seeds))
    if correlation == 0:
        return own
    shared = chance.standard_normal(seeds)
    return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own


def together(
    k: int,
    seeds: int,
    tau: float,
    repeats: int,
    *,
    unequal: bool = False,
    correlation: float | None = None,
) -> dict[str, float]:
    """Of `repeats` searches of `k` configurations whose true means spread by `tau` times the seeds'
    noise: how sure the winner is said to be within `DELTA` of the best and how often it is, the
    same of those said to be over 90%, how often the best is not excluded, and the coverage of the
    winner's shrunk interval and of Student's. With a `correlation` the design is paired."""
    chance, found = np.random.default_rng(SEED), []
    quantile = float(stdtrit(seeds - 1, 0.975))
    for _ in range(repeats):
        true = 7.3 + chance.normal(0, tau * NOISE, k)
        sd = NOISE * chance.choice([0.3, 1, 1.7], k) if unequal else np.full(k, NOISE)
        losses = true[:, None] + sd[:, None] * draw(chance, k, seeds, correlation or 0)
        groups = [dict(enumerate(row)) for row in losses.tolist()]
        said = shrunk(groups, DELTA, paired=correlation is not None)
        assert said is not None
        means = losses.mean(axis=1)
        best = int(means.argmin())
        half = quantile * losses[best].std(ddof=1) / math.sqrt(seeds)
        found.append(
            (
                said[best].near,
                true[best] <= true.min() + DELTA,
                said[true.argmin()].near >= EXCLUDED,
                said[best].low <= true[best] <= said[best].high,
                abs(means[best] - true[best]) <= half,
            )
        )
    table = np.array(found, float)
    sure = table[table[:, 0] > 0.9]
    names = ("said", "true", "not_excluded", "shrunk", "student")
    return dict(zip(names, table.mean(axis=0), strict=True)) | {
        "sure": len(sure) / repeats,
        "true_of_sure": sure[:, 1].mean() if len(sure) else math.nan,
    }


@pytest.mark.parametrize(
    ("k", "seeds", "tau", "unequal"),
    [
        (4, 2, 0.25, False),
        (4, 8, 1, False),
        _slow(12, 3, 0.25, False),
        _slow(12, 3, 1, True),
        (2, 4, 1, True),
    ],
)
def test_a_probability_is_as_large_as_it_is_often_right(
    k: int, seeds: int, tau: float, unequal: bool
) -> None:
    """That of unrelated means said 57% where 38% were true (4 configurations, 2 seeds)."""
    found = together(k, seeds, tau, 300, unequal=unequal)
    assert found["said"] <= found["true"] + 0.07
    assert found["not_excluded"] >= 0.97 and found["shrunk"] >= 0.91


@pytest.mark.parametrize("k", [3, _slow(5), _slow(12)])
def test_the_number_of_the_best_of_equal_ones_is_held(k: int) -> None:
    """Student's interval holds it in 94, 91 and 80 of 100."""
    assert together(k, 8, 0, 300)["shrunk"] >= 0.94


def confirmed(
    k: int,
    difference: float,
    repeats: int,
    late: bool = True,
    sds: Sequence[float] = (1, 1),
    correlation: float = 0,
    paired: bool = False,
) -> dict[str, float]:
    """Of `repeats` confirmations of `k` configurations with up to 8 seeds, the first better by
    `difference` standard deviations: the share in which any is told from the leader, in which all
    are with the first as leader, and the seeds spent on each. `sds`: by turns, of the seeds, whose
    losses have this `correlation`; `paired`: whether the tests make use of it."""
    chance, counts = np.random.default_rng(SEED), (2, 4, 8)
    levels = late_levels(counts, k) if late else (level(len(counts), k),) * len(counts)
    told = right = spent = 0
    spread = np.resize(sds, k)
    for _ in range(repeats):
        losses = spread[:, None] * draw(chance, k, counts[-1], correlation)
        losses[1:] += difference
        n, apart = np.zeros(k, int), np.zeros(k, bool)
        leader = 0
        for count, allowed in zip(counts, levels, strict=True):
            n[~apart] = count
            n[leader] = count
            groups = [dict(enumerate(losses[i, : n[i]].tolist())) for i in range(k)]
            leader = int(np.argmin(fair_means(groups, paired=paired)))
            tests = [compare_means(groups[leader], groups[i], paired=paired) for i in range(k)]
            apart = np.array([separates(t, allowed) for t in tests])
            apart[leader] = False
            if apart.sum() == k - 1:
                break
        told += bool(apart.any())
        right += leader == 0 and apart.sum() == k - 1
        spent += n.sum()
    return {"told": told / repeats, "right": right / repeats, "seeds": spent / repeats / k}


@pytest.mark.parametrize(("k", "sds"), [(2, (1, 1)), (2, (1, 3)), (4, (1, 1)), (4, (0.3, 1, 1.7))])
def test_equal_ones_are_told_apart_in_5_of_100_at_most(k: int, sds: Sequence[float]) -> None:
    assert confirmed(k, 0, 1000, sds=sds)["told"] <= 0.067  # 50 expected; 68 with p = 0.007


def test_one_standard_deviation_is_found_more_often_than_by_even_looks() -> None:
    late, even = confirmed(2, 1, 1000), confirmed(2, 1, 1000, late=False)
    assert late["right"] >= 0.40 > 0.36 >= even["right"]


@pytest.mark.parametrize(("k", "sds"), [(2, (1, 1)), (2, (1, 3)), (4, (1, 1))])
@pytest.mark.parametrize("correlation", [0, 0.5, 0.8])
def test_equal_ones_of_a_paired_design_are_too(
    k: int, sds: Sequence[float], correlation: float
) -> None:
    told = confirmed(k, 0, 1000, sds=sds, correlation=correlation, paired=True)["told"]
    assert told <= 0.067


def test_pairs_find_one_standard_deviation_as_often_as_seeds_agree() -> None:
    """Welch's test of the same losses is blind to it, and without it costs little."""
    found = {c: confirmed(2, 1, 1000, correlation=c, paired=True)["right"] for c in (0, 0.5, 0.8)}
    welch = {c: confirmed(2, 1, 1000, correlation=c)["right"] for c in (0, 0.5, 0.8)}
    assert found[0] >= welch[0] - 0.09
    assert found[0.5] >= 0.6 > 0.5 >= welch[0.5]
    assert found[0.8] >= 0.93 > 0.5 >= welch[0.8]


@pytest.mark.parametrize(
    ("k", "seeds", "tau", "correlation"),
    [
        (4, 3, 0.25, 0),
        _slow(2, 4, 0.25, 0.5),
        _slow(4, 2, 0.25, 0.8),
        _slow(4, 8, 1, 0.5),
        _slow(12, 3, 0.25, 0.8),
    ],
)
def test_a_probability_in_a_paired_design_is_as_large_as_it_is_often_right(
    k: int, seeds: int, tau: float, correlation: float
) -> None:
    found = together(k, seeds, tau, 300, correlation=correlation)
    assert found["said"] <= found["true"] + 0.07
    assert found["not_excluded"] >= 0.97 and found["shrunk"] >= 0.91


def print_together(repeats: int) -> None:
    print("\ntogether: said, true; share said > 90%, true of those; best not excluded; coverage")
    for unequal in (False, True):
        for k in (2, 3, 4, 5, 12):
            for seeds in (2, 3, 8):
                for tau in (0, 0.25, 1, 4):
                    found = together(k, seeds, tau, repeats, unequal=unequal)
                    shown = " ".join(f"{name} {value:4.0%}" for name, value in found.items())
                    sort = "unequal" if unequal else "equal"
                    print(f"{sort:8} k={k:2} seeds={seeds} tau={tau:<5}{shown}", flush=True)


def print_confirmed(repeats: int) -> None:
    print("\n--confirm: any told apart, all told apart rightly, seeds of each; late, then even")
    rows = [(2, d, (1, 1)) for d in (0, 0.5, 1, 1.5, 2, 3, 4)]
    rows += [(k, 0, (1, 1)) for k in (3, 4, 5, 8)] + [(k, 0, (1, 3)) for k in (2, 4)]
    rows += [(k, 0, (0.3, 1, 1.7)) for k in (3, 4, 8)]
    for k, difference, sds in rows:
        both = [confirmed(k, difference, repeats, late, sds) for late in (True, False)]
        shown = "   ".join(f"{b['told']:.1%} {b['right']:.1%} {b['seeds']:.1f}" for b in both)
        print(f"k={k} difference={difference} sds={sds}  {shown}", flush=True)


def print_paired(repeats: int) -> None:
    print(
        "\n--confirm with shared seeds: any told apart, all rightly, seeds of each; paired, Welch"
    )
    for k, sds in ((2, (1, 1)), (2, (1, 3)), (4, (1, 1))):
        for correlation in (0, 0.25, 0.5, 0.8):
            for difference in (0, 0.5, 1):
                both = [
                    confirmed(
                        k, difference, repeats, sds=sds, correlation=correlation, paired=paired
                    )
                    for paired in (True, False)
                ]
                shown = "   ".join(
                    f"{b['told']:.1%} {b['right']:.1%} {b['seeds']:.1f}" for b in both
                )
                head = f"k={k} sds={sds} correlation={correlation} difference={difference}"
                print(f"{head}  {shown}", flush=True)
    print("\ntogether with shared seeds")
    for correlation in (0, 0.5, 0.8):
        for k in (2, 4, 12):
            for seeds in (2, 3, 8):
                for tau in (0, 0.25, 1, 4):
                    found = together(k, seeds, tau, repeats // 8, correlation=correlation)
                    shown = " ".join(f"{name} {value:4.0%}" for name, value in found.items())
                    head = f"correlation={correlation} k={k:2} seeds={seeds} tau={tau:<5}"
                    print(f"{head}{shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="the tables of docs/noise.md")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    args = parser.parse_args()
    print_confirmed(4 * args.repeats)
    print_paired(4 * args.repeats)
    print_together(args.repeats)
    print_rates(args.repeats)


if __name__ == "__main__":
    main()
