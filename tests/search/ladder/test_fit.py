"""The ridge and the frontier against numeric derivatives and known truths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minigpt_search.search.ladder.best_rate_ahead import rate_ahead
from minigpt_search.search.ladder.frontier import (
    MISS_SD,
    _Frontier,
    counting_ahead,
    loss_ahead,
    miss_sd,
)
from minigpt_search.search.ladder.profile_likelihood import Problem, fitted, interval
from minigpt_search.search.ladder.ridge import OWN, RUNG_SD, SKEW, Losses, Ridge

RUNGS = (2e5, 4e5, 8e5, 1.6e6)


def _losses(widths: tuple[int, ...] = (128,), slope: float = -0.2, sd: float = 0.0) -> Losses:
    """Four rates a rung, in valleys of 0.1 nats, the best of the first about 2e-3."""
    rng = np.random.default_rng(3)
    rows = []
    for tokens in RUNGS:
        for width in widths:
            best = math.log(2e-3) + slope * math.log(tokens / RUNGS[0])
            best -= 0.5 * math.log(width / 128)
            for k in (-2, 0, 2, 4):
                x = math.log(1e-3) + k * math.log(2) / 2
                loss = 4 + (tokens / 1e6) ** -0.3 + 0.1 * (x - best) ** 2
                rows.append((tokens, width, math.exp(x), loss + rng.normal(0, sd)))
    return Losses(*np.array(rows).T)


def _numeric(problem: Problem, p: np.ndarray) -> np.ndarray:
    steps = 1e-6 * np.eye(len(p))
    return np.stack(
        [(problem.residuals(p + e) - problem.residuals(p - e)) / 2e-6 for e in steps], axis=1
    )


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("skew", [0.9, -1.3, 0.0003])
def test_the_ridges_derivatives(smooth: bool, skew: float) -> None:
    ridge = Ridge(_losses((64, 128)), (1.6e7, 256.0), smooth, 0.03**2)
    p = ridge.start(skew) + np.random.default_rng(0).normal(0, 0.03, OWN + 16)
    p[SKEW] = skew
    np.testing.assert_allclose(ridge.jacobian(p), _numeric(ridge, p), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("widths", [(128,), (64, 128, 256)])
def test_the_frontiers_derivatives(widths: tuple[int, ...]) -> None:
    cells = np.log([(t, w) for t in RUNGS for w in widths])
    problem = _Frontier(cells, cells.sum(1), np.eye(len(cells)) * 1e-4, (1.6e7, 128.0), 10.8)
    p = problem.start() + 0.1
    np.testing.assert_allclose(problem.jacobian(p), _numeric(problem, p), atol=1e-5, rtol=1e-5)


def test_the_interval_of_a_straight_problem_is_the_textbooks() -> None:
    class Mean:
        """Two numbers, 1 and 3, of one mean with a standard deviation of 1: 2 ± 1.96 / √2."""

        def residuals(self, p: np.ndarray) -> np.ndarray:
            return np.array([p[0] - 1, p[0] - 3, p[1]])

        def jacobian(self, p: np.ndarray) -> np.ndarray:
            return np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    fit = fitted(Mean(), np.zeros(2))
    low, high = interval([fit], 1.96**2, 0.25)
    assert (low, high) == pytest.approx((2 - 1.386, 2 + 1.386), abs=0.02)


def test_without_noise_the_ridge_is_found() -> None:
    found = rate_ahead(_losses((64, 128, 256)), (3.2e6, 256.0), 0.01)
    best = 2e-3 * 16**-0.2 * 2**-0.5
    assert found.rate == pytest.approx(best, rel=0.1)
    assert found.low < best < found.high
    assert found.slope == pytest.approx(-0.2, abs=0.05)


def test_flat_valleys_leave_the_rate_open() -> None:
    rng = np.random.default_rng(5)
    for _ in range(8):
        flat = _losses()
        flat = Losses(flat.tokens, flat.width, flat.rate, rng.normal(5, 0.05, len(flat.loss)))
        one = flat.where(flat.own == 0)
        for losses in (flat, one):
            found = rate_ahead(losses, (1.6e7, 128.0), 0.01)
            assert 0 < found.low <= found.rate <= found.high < math.inf
            assert found.factor > 6


def test_farther_ahead_the_interval_is_wider() -> None:
    losses = _losses(sd=0.03)
    factors = [rate_ahead(losses, (1.6e6 * x, 128.0), 0.01).factor for x in (2, 10, 50)]
    assert factors == sorted(factors) and factors[-1] > 1.5 * factors[0]


def test_the_target_lies_off_the_ridge_as_a_rung_does() -> None:
    """Next to the largest rung a run has something of its own, in quadrature, by Student's t."""
    losses = _losses()
    rung, beside = (rate_ahead(losses, (tokens, 128.0), 0.01) for tokens in (1.6e6, 1.61e6))
    assert beside.rate == pytest.approx(rung.rate, rel=0.01)
    up, down = (
        math.log(beside.high / beside.rate) ** 2 - math.log(rung.high / rung.rate) ** 2,
        math.log(beside.rate / beside.low) ** 2 - math.log(rung.rate / rung.low) ** 2,
    )
    for more in (up, down):
        assert 1.96 < math.sqrt(more) / RUNG_SD < 2.5


def test_the_frontier_extrapolates_a_power_law() -> None:
    cells = np.log([(t, 128.0) for t in RUNGS])
    truth = 3.5 + 1.5 * (np.array([*RUNGS, 1.6e7]) / 6e5) ** -0.3
    covariance = np.eye(4) * 0.01**2
    found = loss_ahead(
        *(cells, truth[:4], covariance, (1.6e7, 128.0)),
        seed_sd=0.02,
        missed=0.0,
        uniform=math.log(50257),
    )
    assert found.low < truth[4] < found.high
    assert found.loss == pytest.approx(truth[4], abs=0.1)
    at = found.at(np.array([RUNGS[0], 1.6e7]), 128)
    assert at == pytest.approx([truth[0], found.loss], abs=0.03)


def test_rungs_off_the_power_law_widen_its_interval() -> None:
    """By the Birge ratio, of three squares and four of the prior. Errors of 0.2 nats explain a
    wobble of 0.15, and leave the interval as it is."""
    cells = np.log([(t, 128.0) for t in (*RUNGS, 3.2e6, 6.4e6)])
    smooth = 3.5 + 1.5 * (np.exp(cells[:, 0]) / 6e5) ** -0.3
    wobble = 0.15 * np.array([1, -1, 1, -1, 1, -1])
    widths = {
        (sd, off): found.high - found.low
        for sd in (0.01, 0.2)
        for off, floors in ((0, smooth), (1, smooth + wobble))
        for found in [
            loss_ahead(
                *(cells, floors, np.eye(6) * sd**2, (6.4e7, 128.0)),
                seed_sd=0.0,
                missed=0.0,
                uniform=10.8,
            )
        ]
    }
    assert widths[0.01, 1] > 2 * widths[0.01, 0]
    assert widths[0.2, 1] == pytest.approx(widths[0.2, 0], rel=0.1)


@pytest.mark.parametrize("floors", [(0.515, 0.222, 0.048), (0.9, 0.3, 0.001)])
def test_no_loss_is_expected_below_nothing(floors: tuple[float, ...]) -> None:
    """Of one sentence that repeats: a power law through such losses goes on below 0."""
    cells = np.log([(t, 32.0) for t in (25_600, 33_280, 53_760)])
    for beyond in (2, 10):
        found = loss_ahead(
            *(cells, np.array(floors), np.eye(3) * 0.02**2, (53_760.0 * beyond, 32.0)),
            seed_sd=0.02,
            missed=0.2,
            uniform=5.6,
        )
        assert 0 <= found.low <= found.loss < found.high < floors[1] + 0.4
        assert found.loss < floors[-1] + 0.01


def test_the_interval_grows_beyond_the_rungs_by_what_they_missed_of_each_other() -> None:
    cells, floors = np.log([(t, 128.0) for t in RUNGS]), np.array([6.0, 5.8, 5.65, 5.5])
    how = cells, floors, np.eye(4) * 0.01**2

    def sides(missed: float, beyond: float) -> float:
        target = RUNGS[-1] * beyond, 128.0
        found = loss_ahead(*how, target, seed_sd=0.0, missed=missed, uniform=10.8)
        assert found.high - found.loss == pytest.approx(found.loss - found.low, rel=0.3)
        return found.high - found.loss

    assert sides(0.4, 1.0) == sides(0.0, 1.0)  # at the largest rung there is nothing to miss
    for beyond in (2.0, 30.0):
        apart = math.sqrt(sides(0.4, beyond) ** 2 - sides(0.0, beyond) ** 2) / 1.96
        assert apart == pytest.approx(0.4 * (1 - 1 / beyond), rel=0.02)
    assert miss_sd([]) == MISS_SD < miss_sd([0.5]) < miss_sd([0.5, 0.5]) < 0.5
    assert miss_sd([0.0]) < MISS_SD


def test_a_table_of_counts_goes_on_straight() -> None:
    at = counting_ahead([1e5, 1e6], [7.0, 6.0], np.array([1e5, 1e6, 1e7]))
    assert at == pytest.approx([7.0, 6.0, 5.0])
