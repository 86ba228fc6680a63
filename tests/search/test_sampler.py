"""A search that is rebuilt from the ledger suggests what an uninterrupted one would have."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from model.records import COMPLETE, DIVERGED, FAILED
from search.sampler import LedgerOptunaSearch
from search.trainable import OBJECTIVE

RANGES = {"lr": (1e-4, 1e-2), "epochs": (1, 20), "embed_dim": (32, 256)}
N = 16


@pytest.fixture(autouse=True)
def quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def make(finished: list[Any], unfinished: list[Any], seed: int = 0) -> LedgerOptunaSearch:
    return LedgerOptunaSearch(
        ranges=RANGES, sampler="tpe", base_seed=seed, finished=finished, unfinished=unfinished
    )


def objective(values: dict[str, float]) -> float:
    return 7 + (math.log10(values["lr"]) + 3) ** 2 - 0.01 * values["epochs"]


def run(search: LedgerOptunaSearch, start: int, stop: int) -> list[tuple[dict[str, float], float]]:
    done = []
    for number in range(start, stop):
        suggestion = search.suggest(str(number))
        assert suggestion is not None
        values = suggestion["values"]
        loss = objective(values)
        search.on_trial_result(
            str(number), {OBJECTIVE: loss + 1, "kind": "epoch", "curve_step": 1000}
        )
        result = {OBJECTIVE: loss, "kind": "end", "status": COMPLETE}
        search.on_trial_complete(str(number), result)
        done.append((values, loss))
    return done


@pytest.mark.parametrize("cut", [0, 1, 5, 11, 15])
def test_resumed_between_trials_the_suggestions_are_the_same(cut: int) -> None:
    whole = run(make([], []), 0, N)
    first = run(make([], []), 0, cut)
    assert first + run(make(first, []), cut, N) == whole


def test_resumed_within_a_trial_it_comes_first_and_the_rest_are_the_same() -> None:
    whole = run(make([], []), 0, N)
    resumed = make(whole[:12], [whole[12][0]])
    assert run(resumed, 12, N) == whole[12:]


def test_another_seed_suggests_otherwise() -> None:
    assert run(make([], []), 0, 1) != run(make([], [], seed=1), 0, 1)


def test_suggestions_stay_in_their_ranges() -> None:
    for values, _ in run(make([], []), 0, N):
        for name, (low, high) in RANGES.items():
            assert low <= values[name] <= high
        assert values["embed_dim"] % 32 == 0
        assert isinstance(values["epochs"], int)


def test_no_trial_stays_running_whatever_its_end() -> None:
    search = make([], [])
    for number, status in enumerate((COMPLETE, DIVERGED, FAILED)):
        search.suggest(str(number))
        search.on_trial_complete(str(number), {OBJECTIVE: 9.0, "kind": "end", "status": status})
    search.suggest("lost")
    search.on_trial_complete("lost", None, error=True)
    states = [trial.state for trial in search.study.trials]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]


def test_few_whole_numbers_are_each_tried_once_and_then_it_is_over() -> None:
    search = LedgerOptunaSearch(
        ranges={"embed_dim": (32, 256)}, sampler="tpe", base_seed=0, finished=[], unfinished=[]
    )
    widths = []
    for number in range(8):
        widths.append(search.suggest(str(number))["values"]["embed_dim"])
        if number % 2:  # the others stay running
            result = {OBJECTIVE: 7.0, "kind": "end", "status": COMPLETE}
            search.on_trial_complete(str(number), result)
    assert sorted(widths) == list(range(32, 257, 32))
    assert search.suggest("one too many") == "FINISHED"


def test_repeats_leave_the_suggestions_of_a_resumed_search_as_they_were() -> None:
    def widths(search: LedgerOptunaSearch, start: int, stop: int) -> list[Any]:
        done = []
        for number in range(start, stop):
            values = search.suggest(str(number))["values"]
            loss = 7.0 + abs(values["embed_dim"] - 96) / 100
            result = {OBJECTIVE: loss, "kind": "end", "status": COMPLETE}
            search.on_trial_complete(str(number), result)
            done.append((values, loss))
        return done

    def make_narrow(finished: list[Any]) -> LedgerOptunaSearch:
        return LedgerOptunaSearch(
            ranges={"embed_dim": (4, 64)},
            sampler="tpe",
            base_seed=0,
            finished=finished,
            unfinished=[],
        )

    whole = widths(make_narrow([]), 0, 15)
    assert whole[:12] + widths(make_narrow(whole[:12]), 12, 15) == whole


def test_progress_reports_are_not_taken_for_epochs() -> None:
    search = make([], [])
    search.suggest("0")
    search.on_trial_result("0", {OBJECTIVE: 10.8, "kind": "progress", "step": 3})
    search.on_trial_result("0", {OBJECTIVE: 8.0, "kind": "epoch", "curve_step": 1000})
    assert search.study.trials[0].intermediate_values == {1000: 8.0}
