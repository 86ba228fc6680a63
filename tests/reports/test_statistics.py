"""Intervals and tests against scipy and closed forms; probabilities against what came true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minigpt_search.search.results.statistics import (
    estimate,
    level,
    pooled_spread,
    probability_best,
    separated,
    welch,
)


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
    assert welch([7.0], [8.0, 8.1]) is None and not separated([7.0], [9.0, 9.0], 0.05)
    assert pooled_spread([[7.0], [8.0]]) is None and probability_best([[7.0], [8.0]]) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [([7.0, 7.1], [7.4, 7.6]), ([7.0, 7.1, 7.05, 6.9], [6.4, 8.6]), ([1.0, 2.0], [1.5, 1.5, 1.6])],
)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    found, expected = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found is not None
    assert (found.t, found.p, found.df) == pytest.approx(
        (expected.statistic, expected.pvalue, expected.df)
    )


def test_of_very_many_groups_the_best_share_the_probability() -> None:
    groups = [[9.0 - number / 1000, 9.001 - number / 1000] for number in range(500)]
    found = probability_best(groups, draws=200)
    assert found is not None and len(found) == 500 and sum(found) == pytest.approx(1)
    assert max(found) == found[-1] and found[0] == 0


def test_equal_bits_are_told_apart_only_if_they_differ() -> None:
    same, other = welch([7.0, 7.0], [7.0, 7.0]), welch([7.0, 7.0], [7.5, 7.5])
    assert same is not None and same.p == 1
    assert other is not None and other.p == 0 and other.t == -math.inf
    assert probability_best([[7.0, 7.0], [7.0, 7.0]]) == [0.5, 0.5]
    assert probability_best([[7.0, 7.0], [7.5, 7.5]]) == [1.0, 0.0]


def test_the_levels_of_all_looks_and_competitors_add_up_to_alpha() -> None:
    assert level(1, 1) == 0.05
    assert 7 * 2 * level(7, 2) == pytest.approx(0.05)


def test_the_spread_is_pooled_over_those_that_compete() -> None:
    groups = [[7.0, 7.1], [7.2, 7.4], [9.0]]
    found = pooled_spread(groups)
    assert found == pytest.approx((math.sqrt((0.005 + 0.02) / 2), 2))
    wild = [*groups, *[[8.0, 8.1]] * 3, [20.0, 40.0]]
    pooled = pooled_spread(wild)
    assert pooled is not None and pooled[0] < 1


def test_two_groups_have_the_probability_of_the_closed_form() -> None:
    """A pooled difference over its standard error is Student's t."""
    a, b = [7.0, 7.1, 7.05], [7.1, 7.2, 7.05]
    expected = stats.ttest_ind(a, b, alternative="less", equal_var=True).pvalue
    found = probability_best([a, b], draws=200_000)
    assert found is not None and found[0] == pytest.approx(1 - expected, abs=0.004)
    assert sum(found) == pytest.approx(1)


def plain_bootstrap(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of resamples, with replacement, in which the first group is lowest."""
    n = groups.shape[1]
    picked = rng.integers(0, n, (2, 400, n))
    means = [groups[i][picked[i]].mean(axis=1) for i in range(2)]
    return np.mean(means[0] < means[1])


@pytest.mark.parametrize("n", [2, 3])
def test_stated_probabilities_come_true_and_a_plain_bootstraps_do_not(n: int) -> None:
    """Pairs with differences drawn evenly from -4 to 4 standard deviations: of the leaders said to
    be best with 90% and more, so many are."""
    rng = np.random.default_rng(n)
    said, plain, true = [], [], []
    for _ in range(3000):
        difference = rng.uniform(-4, 4)
        groups = rng.standard_normal((2, n)) + np.array([[0.0], [difference]])
        order = np.argsort(groups.mean(axis=1))
        groups = groups[order]
        found = probability_best(groups.tolist(), draws=400)
        assert found is not None
        said.append(found[0])
        plain.append(plain_bootstrap(groups, rng))
        true.append((difference > 0) == (order[0] == 0))
    said_, plain_, true_ = np.array(said), np.array(plain), np.array(true)
    for low, high in ((0.5, 0.75), (0.75, 0.9), (0.9, 1.01)):
        within = (said_ >= low) & (said_ < high)
        excess = true_[within].mean() - said_[within].mean()
        assert -0.03 < excess < 0.09  # never boasting; two replicates are a little too modest
    sure = plain_ >= 0.99  # it errs many times as often as it says
    assert 1 - true_[sure].mean() > 5 * (1 - plain_[sure].mean())


def test_an_interval_of_three_replicates_holds_the_truth_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    inside = [
        (found := estimate(rng.standard_normal(3).tolist())).low <= 0 <= found.high  # type: ignore[operator]
        for _ in range(4000)
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)
