"""Fitted curves find what made the points, and say nothing where the points say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minigpt_search.search.results.best_rate import best_rate

DELTA = 0.01
RATES = (3e-4, 5e-4, 1e-3, 2e-3)


def valley(rate: float, best: float = 1.1e-3, curvature: float = 0.2) -> float:
    return 7.3 + curvature * math.log(rate / best) ** 2


def test_points_of_a_valley_give_its_lowest_point_and_the_rates_near_it() -> None:
    rates = (2.5e-4, 5e-4, 1e-3, 2e-3)
    found = best_rate(rates, [valley(rate, 6e-4) for rate in rates], DELTA)
    assert found is not None and found.rate == pytest.approx(6e-4, rel=0.02)
    half = math.sqrt(DELTA / 0.2)
    ends = (6e-4 * math.exp(-half), 6e-4 * math.exp(half))
    assert found.near == pytest.approx(ends, rel=0.02)
    assert not found.extrapolated and found.fits
    assert found.high is not None and found.high > found.near[1]  # one seed each, so it is wide
    assert "within 0.01 nats of the best of all rates are 0.0004" in found.text


def test_the_two_sides_of_a_valley_are_told_apart() -> None:
    rates = [1e-3 * 2.0**i for i in range(-3, 4)]
    losses = [valley(rate, 1e-3, 0.05 if rate < 1e-3 else 0.4) for rate in rates]
    found = best_rate(np.repeat(rates, 3), np.repeat(losses, 3), DELTA)
    assert found is not None and found.rate == pytest.approx(1e-3, rel=0.05)
    below, above = math.log(found.rate / found.near[0]), math.log(found.near[1] / found.rate)
    assert below / above == pytest.approx(math.sqrt(8), rel=0.1)


def test_losses_that_are_no_valley_get_no_interval() -> None:
    rates = np.repeat([1e-3 * 2.0**i for i in range(-2, 3)], 3)
    losses = np.repeat([7.8, 7.1, 7.4, 7.0, 7.8], 3) + np.tile([-0.01, 0, 0.01], 5)
    found = best_rate(rates, losses, DELTA)
    assert found is not None and not found.fits
    assert found.low is found.high is found.near_low is found.near_high is None
    assert found.text == "no simple curve fits the losses by rate, so no best one is read off it"


def test_a_flat_valley_rules_no_rate_out() -> None:
    losses = [7.3 + 1e-3 * math.log(rate / 1e-3) ** 2 for rate in RATES]
    found = best_rate(RATES, losses, DELTA)
    assert found is not None and "none of those tried is ruled out" in found.text


@pytest.mark.parametrize("trials", [20, 40])
def test_the_interval_of_a_samplers_rates_holds_too(trials: int) -> None:
    """Around the lowest of many rates the nearest few curve upwards by luck."""
    chance = np.random.default_rng(1)
    inside, bounded = 0, 0
    for _ in range(200):
        rates = np.exp(chance.uniform(math.log(1e-4), math.log(1e-2), trials))
        noise = chance.normal(0, 0.03, trials)
        losses = [valley(r, curvature=0.05) + e for r, e in zip(rates, noise, strict=True)]
        found = best_rate(rates, losses, DELTA)
        if found is not None and found.low is not None and found.high is not None:
            bounded += 1
            inside += found.low <= 1.1e-3 <= found.high
    assert bounded > 50
    assert inside / bounded >= 0.93


@pytest.mark.parametrize(
    "losses",
    [[7.5, 7.4], [7.4, 7.5, 7.4], [7.6, 7.5, 7.4]],
    ids=["two rates", "a hill", "a slope"],
)
def test_no_best_rate_where_there_is_no_valley(losses: list[float]) -> None:
    spread = [1e-4, 1e-3, 1e-2][: len(losses)]
    assert best_rate(spread, losses, DELTA) is None


def test_a_vertex_beyond_the_rates_is_marked() -> None:
    found = best_rate(RATES, [valley(rate, 8e-3) for rate in RATES], DELTA)
    assert found is not None and found.rate == pytest.approx(8e-3, rel=0.05) and found.extrapolated
    assert "extrapolated" in found.text


def test_far_rates_do_not_bend_the_valley() -> None:
    rates = [1e-5, 1e-4, 3e-4, 5e-4, 1e-3, 2e-3, 4e-3, 1e-1]
    losses = [10.8, 10.0, *(valley(rate) for rate in rates[2:7]), 30.0]
    found = best_rate(rates, losses, DELTA)
    assert found is not None and found.rate == pytest.approx(1.1e-3, rel=0.03) and found.rates == 5
