"""Intervals and tests against scipy and closed forms, and how often they hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from minigpt_search.search.results.statistics import (
    MeansTest,
    compare_means,
    estimate,
    fair_means,
    fit_luck,
    late_levels,
    level,
    pooled_spread,
    separates,
)


def compared(a: Sequence[float], b: Sequence[float], *, paired: bool = False) -> MeansTest | None:
    return compare_means(dict(enumerate(a)), dict(enumerate(b)), paired=paired)


def test_mean_and_interval_are_scipys() -> None:
    losses = [7.31, 7.36, 7.45]
    found = estimate(losses)
    assert found.n == 3 and found.mean == pytest.approx(np.mean(losses))
    assert found.sd == pytest.approx(np.std(losses, ddof=1))
    expected = stats.t.interval(0.95, 2, loc=np.mean(losses), scale=stats.sem(losses))
    assert (found.low, found.high) == pytest.approx(expected)


def test_one_replicate_has_no_spread_and_no_answer() -> None:
    alone = estimate([7.0])
    assert (alone.mean, alone.sd, alone.low, alone.high) == (7.0, None, None, None)
    assert compared([7.0], [8.0, 8.1]) is None and not separates(None, 0.05)
    assert compared([7.0], [8.0, 8.1], paired=True) is None
    for paired in (False, True):
        assert pooled_spread([{0: 7.0}, {0: 8.0}], paired=paired) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [([7.0, 7.1], [7.4, 7.6]), ([7.0, 7.1, 7.05, 6.9], [6.4, 8.6]), ([1.0, 2.0], [1.5, 1.5, 1.6])],
)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    found, expected = compared(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found is not None and not found.paired
    assert (found.t, found.p, found.df) == pytest.approx(
        (expected.statistic, expected.pvalue, expected.df)
    )


def test_the_paired_test_is_scipys_over_the_replicates_that_both_have() -> None:
    a, b = {0: 7.0, 1: 7.1, 2: 7.05, 3: 6.9, 9: 1.0}, {3: 7.0, 2: 7.09, 1: 7.2, 0: 7.2, 7: 99.0}
    found = compare_means(a, b, paired=True)
    expected = stats.ttest_rel([a[r] for r in range(4)], [b[r] for r in range(4)])
    assert found is not None and found.paired
    assert (found.t, found.p, found.df) == pytest.approx(
        (expected.statistic, expected.pvalue, expected.df)
    )
    assert compare_means({0: 7.0, 1: 7.1}, {1: 7.2, 2: 7.3}, paired=True) is None
    alone = compare_means({0: 7.0, 1: 7.1}, {2: 7.2, 3: 7.3}, paired=True)
    assert alone == compared([7.0, 7.1], [7.2, 7.3])  # no seed in common


def test_luck_is_fitted_and_none_gains_by_the_replicates_it_has() -> None:
    luck = {0: -0.5, 1: 0.0, 2: 0.5}
    whole = [{r: mean + luck[r] for r in luck} for mean in (7.0, 7.1, 7.2)]
    found = fit_luck(whole)
    assert found.means == pytest.approx([7.0, 7.1, 7.2]) and found.luck == pytest.approx(
        list(luck.values())
    )
    assert found.df == 4 and found.sd == pytest.approx(0)  # (3 - 1) (3 - 1)
    lucky = [*whole[:2], {0: whole[2][0]}]  # 6.7, by its luck alone
    assert fair_means(lucky, paired=True) == pytest.approx([7.0, 7.1, 7.2])
    assert fair_means(lucky, paired=False) == pytest.approx([7.0, 7.1, 6.7])
    assert fair_means([{0: 7.0}, {1: 6.0}], paired=True) == pytest.approx([7.0, 6.0])
    assert pooled_spread(whole, paired=True) == pytest.approx((0, 4))
    assert pooled_spread(whole, paired=False) == pytest.approx((0.5, 6))
    # One group alone doesn't tell luck from the rest: both.
    assert pooled_spread([whole[0], {0: 8.0}], paired=True) == pytest.approx((0.5, 2))


def test_equal_bits_are_told_apart_only_if_they_differ() -> None:
    for paired in (False, True):
        same = compared([7.0, 7.0], [7.0, 7.0], paired=paired)
        other = compared([7.0, 7.0], [7.5, 7.5], paired=paired)
        assert same is not None and same.p == 1
        assert other is not None and other.p == 0 and other.t == -math.inf


def test_the_levels_of_all_looks_and_pairs_add_up_to_alpha() -> None:
    assert level(1, 1) == level(1, 2) == 0.05
    assert 7 * 3 * level(7, 3) == pytest.approx(0.05)


def test_late_looks_spend_five_percent_in_all() -> None:
    """At the looks of Lan & DeMets (1983), by drawn walks."""
    counts, shares = (2, 4, 8), (0.25, 0.5, 1.0)
    levels = late_levels(counts, 2)
    assert levels[0] == pytest.approx(2 * stats.norm.sf(stats.norm.isf(0.025) / 0.5), rel=0.01)
    assert levels[0] < levels[1] < levels[2] < 0.05
    walk = np.random.default_rng(0).standard_normal((200_000, 8)).cumsum(axis=1)
    stopped = np.zeros(len(walk), bool)
    for count, share, allowed in zip(counts, shares, levels, strict=True):
        stopped |= np.abs(walk[:, count - 1]) / math.sqrt(count) >= stats.norm.isf(allowed / 2)
        spent = 2 * stats.norm.sf(stats.norm.isf(0.025) / math.sqrt(share))
        assert stopped.mean() == pytest.approx(spent, abs=0.0015)
    assert late_levels((2,), 2) == pytest.approx((0.05,), rel=1e-3)
    assert late_levels((2, 1000), 2)[0] == 0  # no look at two of a thousand seeds ends a search


@pytest.mark.parametrize(("k", "seeds"), [(2, 4), (4, 8), (12, 3), (12, 8)])
def test_of_equal_configurations_the_lowest_is_separated_in_5_of_100_at_most(
    k: int, seeds: int
) -> None:
    """At 5% shared by the eleven that the lowest of twelve is compared with, it would be in 12 of
    100: it was chosen."""
    rng = np.random.default_rng(k + seeds)
    wrong = 0
    for _ in range(1000):
        groups = rng.standard_normal((k, seeds))
        groups = groups[np.argsort(groups.mean(axis=1))]
        tests = [compared(groups[0].tolist(), groups[n].tolist()) for n in {-1, 1, min(2, k - 1)}]
        wrong += any(separates(test, level(1, k)) for test in tests)
    assert wrong <= 65  # 50 at the most are expected; 65 or fewer with probability 0.98


def test_the_spread_is_pooled_over_those_that_compete() -> None:
    groups = [{0: 7.0, 1: 7.1}, {0: 7.2, 1: 7.4}, {0: 9.0}]
    found = pooled_spread(groups, paired=False)
    assert found == pytest.approx((math.sqrt((0.005 + 0.02) / 2), 2))
    wild = [*groups, *[{0: 8.0, 1: 8.1}] * 3, {0: 20.0, 1: 40.0}]
    pooled = pooled_spread(wild, paired=False)
    assert pooled is not None and pooled[0] < 1


def test_an_interval_of_three_replicates_holds_the_truth_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    inside = [
        (found := estimate(rng.standard_normal(3).tolist())).low <= 0 <= found.high  # type: ignore[operator]
        for _ in range(4000)
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)
