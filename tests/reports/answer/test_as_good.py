"""Which others are as good as the winner for what matters (`--delta`): by probability, never by the
difference that was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigpt_search.search.answer.answer import answer
from minigpt_search.search.results.posterior import EXCLUDED, shrunk
from minigpt_search.search.results.results import Results

RATES = (5e-4, 1e-3, 2e-3)


@pytest.mark.parametrize(
    ("delta", "losses"),
    [
        (0.5, {5e-4: [7.5, 7.51], 1e-3: [7.3, 7.31], 2e-3: [7.57, 7.58]}),
        (0.01, {5e-4: [7.3081, 7.3079], 1e-3: [7.3001, 7.2999], 2e-3: [7.3001, 7.3]}),
    ],
)
@pytest.mark.parametrize("paired", [True, False])
def test_what_lies_within_delta_is_not_excluded_however_well_it_is_told_apart(
    made: Any, delta: float, losses: dict[float, list[float]], paired: bool
) -> None:
    experiment, ledger = made({"lr": RATES}, losses, seeds=2, delta_nats=delta, paired=paired)
    found = answer(Results(experiment, ledger))
    assert "not excluded: lr=" in found.loss and "all others are excluded" not in found.loss
    assert f" are as good within {delta:g} nats" in found.loss
    assert ": take any" in found.loss and "(under" not in found.loss


def test_what_the_test_does_not_tell_apart_is_never_excluded(made: Any) -> None:
    losses = {5e-4: [8.0, 8.1], 1e-3: [7.0, 7.0], 2e-3: [7.9, 8.2]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=2)
    found = answer(Results(experiment, ledger))
    assert "not separable from" in found.loss and "excluded" not in found.loss
    assert "probability over 99%, each other one with less than 5%" in found.loss


def test_good_rates_that_spread_more_than_bad_ones_still_compete() -> None:
    """Two equal ones by 0.03 nats, three far behind by 0.002: of 100 such 8 excluded one."""
    chance, excluded = np.random.default_rng(1), 0
    for _ in range(150):
        groups = [
            dict(enumerate(chance.normal(mean, spread, 2).tolist()))
            for mean, spread in ((7, 0.03), (7, 0.03), (7.5, 0.002), (7.8, 0.002), (8, 0.002))
        ]
        found = shrunk(groups, 0.01, paired=False)
        assert found is not None
        excluded += min(each.near for each in found[:2]) < EXCLUDED
    assert excluded / 150 < 0.04


@pytest.mark.parametrize("paired", [True, False])
def test_one_of_two_is_not_as_good_because_two_noisy_means_are_close(
    made: Any, build: Any, paired: bool
) -> None:
    losses = {1e-3: [7.0], 2e-3: [7.1]}
    noise = {"confirm": 2, "confirm_seeds": 2, "paired": paired}
    experiment, ledger = made({"lr": RATES}, losses | {5e-4: [7.5]}, **noise)
    for rate, fresh in ((1e-3, (7.0, 7.5)), (2e-3, (7.501, 7.0) if paired else (7.001, 7.5))):
        for replicate, loss in enumerate(fresh, 1):
            ledger.append(build.trial(experiment, {"lr": rate}, (8, loss), replicate=replicate))
    found = answer(Results(experiment, ledger))
    assert "not separable from lr=0.002 (0.0005 nats behind" in found.loss
    assert "as good" not in found.loss
    assert found.steps[0].command.endswith("--confirm 2 --confirm-seeds 4")
    assert found.steps[0].why.endswith("that matter; looking further spends another 5%")


def test_a_p_is_never_said_to_be_nothing(made: Any) -> None:
    experiment, ledger = made({"lr": RATES[:2]}, {5e-4: [7.2, 7.2], 1e-3: [7.0, 7.0]}, seeds=2)
    assert "behind, p < 1e-12)" in answer(Results(experiment, ledger)).loss


def test_no_fresh_seeds_for_those_that_are_as_good(made: Any) -> None:
    losses = {5e-4: [7.3, 7.301, 7.302], 1e-3: [7.3, 7.3005, 7.301], 2e-3: [7.3005, 7.3005, 7.301]}
    experiment, ledger = made({"lr": RATES}, losses, seeds=3)
    found = answer(Results(experiment, ledger))
    assert "not separable from" in found.loss and ": take any;" in found.loss
    assert not any("--confirm" in step.command for step in found.steps)
