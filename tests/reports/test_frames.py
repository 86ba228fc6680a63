"""The arithmetic behind the tables: edges of the search, order of trials."""

from __future__ import annotations

import math
from typing import Any

import pytest

from minigpt_search.search.results.edges import edges
from minigpt_search.search.results.results import Results


@pytest.mark.parametrize(
    ("lr", "expected"),
    [(3e-4, [("lr", False)]), (5e-4, []), (1e-3, []), (2e-3, [("lr", True)])],
)
def test_edges_of_a_grid(build: Any, lr: float, expected: list[tuple[str, bool]]) -> None:
    plan = build.plan({"lr": (3e-4, 5e-4, 1e-3, 2e-3)})
    found = edges(plan, plan.space.base.replace(lr_peak=lr))
    assert [(edge.axis.name, edge.upper) for edge in found] == expected


def test_one_value_has_no_edge_and_a_sampler_has_a_margin(build: Any) -> None:
    single = build.plan({"lr": (1e-3,)})
    assert edges(single, single.space.base) == []
    tpe = build.plan({"lr": (1e-4, 1e-2)}, sampler="tpe", samples=10)
    # 5% of two decades from the upper bound is 10 ** -2.1 = 0.0079
    assert edges(tpe, tpe.space.base.replace(lr_peak=0.0078)) == []
    assert [edge.upper for edge in edges(tpe, tpe.space.base.replace(lr_peak=0.0081))] == [True]


def test_nothing_lies_below_one_epoch_or_no_dropout(build: Any) -> None:
    plan = build.plan({"epochs": (1, 3, 10), "dropout": (0.0, 0.1, 0.2)})
    assert edges(plan, plan.space.base.replace(epochs=1, dropout=0.0)) == []
    found = edges(plan, plan.space.base.replace(epochs=10, dropout=0.2))
    assert [edge.upper for edge in found] == [True, True]


def test_trials_are_in_the_grids_order_with_their_numbers(build: Any) -> None:
    experiment, ledger = build.two_rates()
    frame = Results(experiment, ledger).trials_frame
    assert list(frame["trial"]) == ["lr=0.0003", "lr=0.001"]
    assert list(frame["best"]) == [False, True]
    assert list(frame["lowest_epoch"]) == [2, 3]
    # 300 steps of 2,048 tokens in 15 s
    assert list(frame["steps_per_second"]) == [20.0, 20.0]
    assert list(frame["tokens_per_second"]) == [40_960.0, 40_960.0]
    # 2 s of start, 15 s of training, 3 s of evaluation
    assert list(frame["total_seconds"]) == [20.0, 20.0]


def test_no_loss_of_an_unfinished_trial_enters_a_frame(build: Any) -> None:
    experiment, ledger = build.mixed()
    frame = Results(experiment, ledger).trials_frame.set_index("status")
    assert frame.loc["complete", "val_loss_nats"] == 7.125
    for status in ("stopped", "diverged", "failed"):
        assert math.isnan(frame.loc[status, "val_loss_nats"])
        assert math.isnan(frame.loc[status, "train_loss_nats"])
    assert set(Results(experiment, ledger).epochs_frame["val_loss_nats"]) == {7.5, 7.25, 7.125}
