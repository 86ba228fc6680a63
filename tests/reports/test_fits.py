"""Fitted curves find what made the points, and say nothing where the points say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minigpt_search.search.results.fits import best_rate, power_law

RATES = (3e-4, 5e-4, 1e-3, 2e-3)


def valley(rate: float, best: float = 1.1e-3, curvature: float = 0.2) -> float:
    return 7.3 + curvature * math.log(rate / best) ** 2


def test_three_points_of_a_parabola_give_its_vertex_without_an_interval() -> None:
    rates = RATES[:3]
    found = best_rate(rates, [valley(rate, 6e-4) for rate in rates])
    assert found is not None and found.rate == pytest.approx(6e-4)
    assert found.low is None and not found.extrapolated
    assert "at 0.0006 (too few points to bound it)" in found.text


def test_the_interval_holds_the_true_rate_in_95_of_100() -> None:
    chance = np.random.default_rng(0)
    rates = np.repeat(RATES, 3)
    inside, bounded = 0, 0
    for _ in range(1000):
        noise = chance.normal(0, 0.02, len(rates))
        found = best_rate(rates, [valley(rate) + e for rate, e in zip(rates, noise, strict=True)])
        assert found is not None
        if found.low is not None and found.high is not None:
            bounded += 1
            assert found.low < found.rate < found.high
            inside += found.low <= 1.1e-3 <= found.high
    assert bounded == 1000
    assert 0.93 <= inside / bounded <= 0.97


@pytest.mark.parametrize("trials", [20, 40])
def test_the_interval_of_a_samplers_rates_does_too(trials: int) -> None:
    """Around the lowest of many rates the nearest few curve upwards by luck."""
    chance = np.random.default_rng(1)
    inside, bounded = 0, 0
    for _ in range(500):
        rates = np.exp(chance.uniform(math.log(1e-4), math.log(1e-2), trials))
        noise = chance.normal(0, 0.03, trials)
        losses = [valley(r, curvature=0.05) + e for r, e in zip(rates, noise, strict=True)]
        found = best_rate(rates, losses)
        if found is not None and found.low is not None and found.high is not None:
            bounded += 1
            inside += found.low <= 1.1e-3 <= found.high
    assert bounded > 300
    assert 0.92 <= inside / bounded <= 0.98


def test_the_interval_is_that_of_the_closed_form() -> None:
    """Symmetric points: slope and curvature are uncorrelated, and Fieller's roots are simple."""
    x = np.array([-1, -1, 0, 0, 1, 1.0])
    y = x**2 + np.array([0.1, -0.1] * 3)
    found = best_rate(np.exp(x), y)
    assert found is not None and found.low is not None and found.high is not None
    variance, t2 = 0.06 / 3, 3.182446305284263**2
    v_slope, v_curve = variance / 4, variance * 6 / (6 * 4 - 4 * 4)
    half = math.sqrt(t2 * v_slope / (4 * (1 - t2 * v_curve)))
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((-half, half))


@pytest.mark.parametrize(
    "losses",
    [[7.5, 7.4], [7.4, 7.5, 7.4], [7.6, 7.5, 7.4]],
    ids=["two rates", "a hill", "a slope"],
)
def test_no_parabola_where_there_is_no_valley(losses: list[float]) -> None:
    spread = [1e-4, 1e-3, 1e-2][: len(losses)]
    assert best_rate(spread, losses) is None


def test_a_vertex_beyond_the_rates_is_marked() -> None:
    found = best_rate(RATES, [valley(rate, 8e-3) for rate in RATES])
    assert found is not None and found.rate == pytest.approx(8e-3) and found.extrapolated
    assert "extrapolated" in found.text


def test_far_rates_do_not_bend_the_parabola() -> None:
    rates = [1e-5, 1e-4, 3e-4, 5e-4, 1e-3, 2e-3, 4e-3, 1e-1]
    losses = [10.8, 10.0, *(valley(rate) for rate in rates[2:7]), 30.0]
    found = best_rate(rates, losses)
    assert found is not None and found.rate == pytest.approx(1.1e-3) and found.rates == 5


def test_a_power_law_is_found_again() -> None:
    sizes = [1, 2, 4, 8, 16]
    losses = [3 + 2 * size**-0.6 for size in sizes]
    law = power_law("epochs", sizes, losses)
    assert law is not None
    assert (law.floor, law.exponent) == pytest.approx((3, 0.6), rel=1e-3)
    assert law(32) == pytest.approx(3 + 2 * 32**-0.6, rel=1e-5)
    assert law.held_out_error == pytest.approx(0, abs=1e-4)
    assert "extrapolates to" in law.text and "at 32 epochs" in law.text


def test_three_points_make_a_law_without_a_floor() -> None:
    law = power_law("parameters", [1e6, 2e6, 4e6], [8.0, 7.0, 6.125])
    assert law is not None and law.floor == 0
    assert law.exponent == pytest.approx(math.log(8 / 7) / math.log(2))
    assert law(8e6) == pytest.approx(6.125 * 7 / 8) and law.held_out_error is None


def test_the_held_out_error_is_that_of_a_curve_that_turns() -> None:
    law = power_law("epochs", [1, 2, 4, 8], [8.0, 7.0, 6.125, 7.0])
    assert law is not None and law.held_out_error == pytest.approx(6.125 * 7 / 8 - 7.0)


@pytest.mark.parametrize("losses", [[7.0, 6.0], [6.0, 6.5, 7.0]])
def test_no_law_where_nothing_falls(losses: list[float]) -> None:
    assert power_law("epochs", [1, 2, 4][: len(losses)], losses) is None


def test_replicates_are_points_of_their_own() -> None:
    law = power_law("epochs", [1, 1, 2, 2, 4, 4], [8.1, 7.9, 7.1, 6.9, 6.2, 6.05])
    assert law is not None and law.floor == 0 and 0.1 < law.exponent < 0.3
