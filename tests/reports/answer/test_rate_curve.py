"""What the answer says of rates by a curve: which of them count, and where it contradicts the
winner."""

from __future__ import annotations

from typing import Any

import pytest

from minigpt_search.model.records import DIVERGED
from minigpt_search.reports.figures import all_figures
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.results.results import Results


def test_a_rate_that_diverged_with_a_seed_is_no_point_of_the_curve(
    build: Any, made: Any, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    losses = {3e-4: [7.4, 7.41], 1e-3: [7.0], 3e-3: [7.3, 7.31]}
    experiment, ledger = made({"lr": tuple(losses)}, losses, seeds=2)
    ledger.append(build.trial(experiment, {"lr": 1e-3}, (8.0,), DIVERGED, replicate=1))
    results = Results(experiment, ledger)
    found = answer(results)
    assert found.use == "lr=0.003 (for 614,400 tokens, 32×64 a batch, linear decay)"
    assert found.best_rate is None
    fitted: list[list[float]] = []
    monkeypatch.setattr(all_figures, "best_rate", lambda rates, *_: fitted.append(rates))
    all_figures.all_figures(results)
    assert [sorted(rates) for rates in fitted] == [[3e-4, 3e-4, 3e-3, 3e-3]]


def test_a_winner_that_the_curve_rules_out_is_said_and_the_fitted_rate_is_next(
    made: Any, read_back: Any
) -> None:
    losses = {0.03: [7.2, 7.21], 0.1: [6.95, 6.951], 0.3: [6.945, 6.946], 1.0: [8.0, 8.01]}
    experiment, ledger = made({"lr": tuple(losses)}, losses, seeds=2)
    found = answer(Results(experiment, ledger))
    assert found.winner is not None and found.winner.configuration.values == {"lr": 0.3}
    assert found.best_rate is not None
    rate = float(f"{found.best_rate.rate:.2g}")
    assert "within 0.01 nats of the best of all rates are " in found.use
    assert found.use.endswith(f"; the best tried is not among them, so try {rate:g}")
    assert "within 0.01 nats of the best tried with probability" in found.loss
    assert found.steps[0].why == f"the fitted best rate, {rate:g}, lies between those tried: try it"
    assert read_back(found)[0][0] == {"lr": (0.03, 0.1, rate, 0.3, 1.0)}


def test_a_winner_among_the_curves_best_has_no_such_words(made: Any) -> None:
    losses = {5e-4: [7.2, 7.21], 1e-3: [7.0, 7.01], 2e-3: [7.1, 7.11]}
    experiment, ledger = made({"lr": tuple(losses)}, losses, seeds=2)
    found = answer(Results(experiment, ledger))
    assert "so try" not in found.use and "fitted" not in found.steps[0].why
