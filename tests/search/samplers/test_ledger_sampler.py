"""A search that is rebuilt from the ledger suggests what an uninterrupted one would have."""

from __future__ import annotations

import math
import pickle
import sys
from typing import Any

import cmaes
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.records.plan import SAMPLERS
from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch, Observation
from minigpt_search.search.space.axes import Value
from minigpt_search.search.space.space import Space
from minigpt_search.search.trials.reports import OBJECTIVE

RANGES: dict[str, tuple[Value, ...]] = {
    "lr": (1e-4, 1e-2),
    "epochs": (1, 20),
    "embed_dim": (32, 256),
}
N = 13
"""Beyond the ten random suggestions that the Gaussian process begins with."""
SLOW_GP = pytest.param("gp", marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def space_of(
    axes: dict[str, tuple[Value, ...]], kinds: dict[str, str] | None = None, **base: Any
) -> Space:
    return Space(axes=axes, kinds=kinds or {}, base=RunConfig().replace(**base))


def make(
    finished: list[Any],
    unfinished: list[Any],
    seed: int = 0,
    sampler: str = "tpe",
    space: Space | None = None,
    **options: Any,
) -> LedgerOptunaSearch:
    return LedgerOptunaSearch(
        space=space or space_of(RANGES),
        sampler=sampler,
        base_seed=seed,
        finished=[
            Observation(values=values, status=COMPLETE, objective=loss) for values, loss in finished
        ],
        unfinished=unfinished,
        **options,
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


@pytest.fixture(scope="module", params=SAMPLERS)
def undisturbed(request: Any) -> tuple[str, list[tuple[dict[str, Any], float]]]:
    """A sampler's name and all that it suggests with their losses."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return request.param, run(make([], [], sampler=request.param), 0, N)


@pytest.mark.parametrize("cut", [1, 11, 12])
def test_resumed_between_trials_the_suggestions_are_the_same(cut: int, undisturbed: Any) -> None:
    sampler, whole = undisturbed
    assert run(make(whole[:cut], [], sampler=sampler), cut, N) == whole[cut:]


def test_resumed_within_a_trial_it_comes_first_and_the_rest_are_the_same(undisturbed: Any) -> None:
    sampler, whole = undisturbed
    resumed = make(whole[:11], [whole[11][0]], sampler=sampler)
    assert run(resumed, 11, N) == whole[11:]


def test_resumed_with_two_at_a_time_nothing_is_suggested_twice(undisturbed: Any) -> None:
    sampler, whole = undisturbed
    resumed = make([*whole[:3], whole[4]], [whole[3][0], whole[5][0]], sampler=sampler)
    values = [tuple(v.items()) for v, _ in [*whole[:3], whole[4], *run(resumed, 4, 9)]]
    assert len(set(values)) == 9
    assert {tuple(v.items()) for v, _ in whole[:6]} <= set(values)


def test_another_seed_suggests_otherwise(undisturbed: Any) -> None:
    sampler, whole = undisturbed
    assert whole[:1] != run(make([], [], seed=1, sampler=sampler), 0, 1)


def test_a_sobol_sequence_fills_every_sixteenth_of_an_axis_once_also_when_resumed() -> None:
    whole = run(make([], [], sampler="qmc"), 0, 16)
    again = run(make(whole[:7], [], sampler="qmc"), 7, 16)  # goes on, and does not begin again
    places = [int(16 * (math.log10(v["lr"]) + 4) / 2) for v, _ in whole[:7] + again]
    assert sorted(places) == list(range(16))


@pytest.mark.parametrize("sampler", ["tpe", SLOW_GP, "cmaes"])
def test_what_learns_comes_nearer_to_the_best_than_chance(sampler: str) -> None:
    space = space_of({"lr": (1e-4, 1e-2), "dropout": (0.0, 0.4)})

    def mean_of_last(name: str) -> float:
        search, losses = make([], [], sampler=name, space=space), []
        for number in range(36):
            values = search.suggest(str(number))["values"]
            losses.append((math.log10(values["lr"]) + 3) ** 2 + 9 * (values["dropout"] - 0.1) ** 2)
            result = {OBJECTIVE: losses[-1], "kind": "end", "status": COMPLETE}
            search.on_trial_complete(str(number), result)
        return sum(losses[-12:]) / 12

    assert mean_of_last(sampler) < mean_of_last("random") / 2


def test_cma_learns_what_optunas_own_does() -> None:
    """Both from the same two generations: their next distributions are the same."""
    space = space_of({"lr": (1e-4, 1e-2), "dropout": (0.0, 0.4)})
    own = optuna.create_study(
        sampler=optuna.samplers.CmaEsSampler(seed=0, n_startup_trials=1, popsize=6)
    )
    distributions = make([], [], sampler="cmaes", space=space)._distributions
    told = []
    for number in range(13):
        trial = own.ask(fixed_distributions=distributions)
        loss = objective({"lr": trial.params["lr"], "epochs": 0})
        own.tell(trial, loss)
        if number:  # Optuna's first is random and in no generation
            told.append((trial.params, loss))
    own.ask(fixed_distributions=distributions)
    attributes = own.trials[-1].system_attrs
    parts = [attributes[f"cma:optimizer:{i}"] for i in range(len(attributes) - 1)]
    expected = pickle.loads(bytes.fromhex("".join(parts)))
    mine = cma_after(space, told)
    assert mine.generation == expected.generation == 2
    by_name = [1, 0]  # Optuna's parameters are in the order of their names
    np.testing.assert_allclose(mine.mean, expected.mean[by_name])
    np.testing.assert_allclose(mine._C, expected._C[np.ix_(by_name, by_name)])
    assert mine._sigma == pytest.approx(expected._sigma)


def cma_after(space: Space, told: list[tuple[dict[str, Any], float]]) -> Any:
    """The optimizer that a suggestion after these trials is asked from."""
    caught: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        ask = cmaes.CMA.ask
        patch.setattr(cmaes.CMA, "ask", lambda self: caught.append(self) or ask(self))
        make(told, [], sampler="cmaes", space=space).suggest("next")
    return caught[-1]


def test_suggestions_stay_in_their_ranges(undisturbed: Any) -> None:
    for values, _ in undisturbed[1]:
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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_few_whole_numbers_are_each_tried_once_and_then_it_is_over(sampler: str) -> None:
    search = make([], [], sampler=sampler, space=space_of({"embed_dim": (32, 256)}))
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
        return make(finished, [], space=space_of({"embed_dim": (4, 64)}))

    whole = widths(make_narrow([]), 0, 15)
    assert whole[:12] + widths(make_narrow(whole[:12]), 12, 15) == whole


def test_progress_reports_are_not_taken_for_epochs() -> None:
    search = make([], [])
    search.suggest("0")
    search.on_trial_result("0", {OBJECTIVE: 10.8, "kind": "progress", "step": 3})
    search.on_trial_result("0", {OBJECTIVE: 8.0, "kind": "epoch", "curve_step": 1000})
    assert search.study.trials[0].intermediate_values == {1000: 8.0}


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "cmaes"])
def test_choices_and_truth_values_come_back_as_they_were(sampler: str) -> None:
    axes: dict[str, tuple[Value, ...]] = {
        "embed_dim": (16, 32, 64),
        "tie_head": (True, False),
        "lr": (1e-3, 2e-3),
    }
    search = make([], [], sampler=sampler, space=space_of(axes, dict.fromkeys(axes, "choices")))
    seen = [search.suggest(str(number))["values"] for number in range(12)]
    assert len({tuple(sorted(values.items())) for values in seen}) == 12
    for name, values in axes.items():
        assert {value[name] for value in seen} == set(values)
    assert all(type(value["tie_head"]) is bool for value in seen)
    assert search.suggest("one too many") == "FINISHED"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_not_allowed_is_never_suggested(sampler: str) -> None:
    def allowed(values: Any) -> bool:
        return values["epochs"] * values["embed_dim"] <= 400

    found = run(make([], [], sampler=sampler, allowed=allowed), 0, 8)
    assert all(allowed(values) for values, _ in found)
    again = make(found[:5], [], sampler=sampler, allowed=allowed)
    assert run(again, 5, 8) == found[5:]


@pytest.mark.parametrize("sampler", ["tpe", SLOW_GP, "qmc", "random"])
def test_two_objectives_and_resumed_the_same(sampler: str) -> None:
    def told(values: Any, result: Any) -> Observation:
        cost = values["epochs"] * values["embed_dim"]
        return Observation(
            values=values, status=result["status"], objective=result[OBJECTIVE], cost=cost
        )

    def more(finished: list[Observation], start: int) -> list[Observation]:
        search = LedgerOptunaSearch(
            space=space_of(RANGES),
            sampler=sampler,
            base_seed=0,
            finished=finished,
            unfinished=[],
            tell=told,
            objectives=2,
        )
        done = []
        for number in range(start, 13):
            values = search.suggest(str(number))["values"]
            status = DIVERGED if number == 4 else COMPLETE
            loss = 10.8 if status == DIVERGED else objective(values)
            search.on_trial_result(
                str(number), {OBJECTIVE: 9.0, "kind": "epoch", "curve_step": 1000}
            )
            result = {OBJECTIVE: loss, "kind": "end", "status": status}
            search.on_trial_complete(str(number), result)
            done.append(told(values, result))
        front = search.study.best_trials
        assert front and all(t.values[0] < 10.8 for t in front)
        return done

    whole = more([], 0)
    assert [t.values for t in more(whole[:11], 11)] == [t.values for t in whole[11:]]


@pytest.mark.parametrize("sampler", ["tpe", SLOW_GP, "cmaes"])
def test_a_sampler_learns_what_takes_too_long(sampler: str) -> None:
    """The loss falls with the rate, and beyond 1e-3 the time is above the limit."""
    space = space_of({"lr": (1e-4, 1e-2), "dropout": (0.0, 0.4)})

    def told(values: Any, result: Any) -> Observation:
        overrun = math.log10(values["lr"]) + 3
        return Observation(
            values=values, status=COMPLETE, objective=result[OBJECTIVE], overrun=overrun
        )

    def share_above(limited: bool) -> float:
        options: dict[str, Any] = {"tell": told} if limited else {}
        search, above = make([], [], sampler=sampler, space=space, **options), []
        for number in range(32):
            values = search.suggest(str(number))["values"]
            above.append(values["lr"] > 1.1e-3)  # the best is at the limit itself
            loss = -math.log10(values["lr"])
            result = {OBJECTIVE: loss, "kind": "end", "status": COMPLETE}
            search.on_trial_complete(str(number), result)
        return sum(above[12:]) / 20

    assert share_above(limited=True) <= 0.6 < share_above(limited=False)


def test_a_stopped_trial_is_told_as_pruned_with_its_curve_also_on_resume() -> None:
    search = make([], [])
    values = search.suggest("0")["values"]
    search.on_trial_result("0", {OBJECTIVE: 8.0, "kind": "epoch", "curve_step": 1000})
    search.on_trial_complete("0", {OBJECTIVE: 10.8, "kind": "end", "status": STOPPED})
    told = Observation(values=values, status=STOPPED, objective=10.8, curve={1000: 8.0})
    resumed = LedgerOptunaSearch(
        space=space_of(RANGES), sampler="tpe", base_seed=0, finished=[told], unfinished=[]
    )
    for study in (search.study, resumed.study):
        [trial] = study.trials
        assert trial.state == TrialState.PRUNED
        assert trial.intermediate_values == {1000: 8.0}


@pytest.mark.parametrize("heads", [(1, 2, 4, 8), (3, 4), (5,)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_heads_always_divide_a_width_from_a_range(sampler: str, heads: tuple[int, ...]) -> None:
    unit = math.lcm(*heads)
    axes: dict[str, tuple[Value, ...]] = {"embed_dim": (unit, 8 * unit)}
    kinds = {}
    if len(heads) > 1 and sampler != "cmaes":
        axes, kinds = {**axes, "n_heads": heads}, {"n_heads": "choices"}
    space = space_of(axes, kinds, embed_dim=unit, n_heads=heads[-1])
    search = make([], [], sampler=sampler, space=space)
    for number in range(4):
        search.suggest(str(number))
    for trial in search.study.trials:  # with those that were repeats
        values = trial.params
        assert values["embed_dim"] % values.get("n_heads", heads[-1]) == 0
        assert space.config(values) is not None


def test_a_sampler_that_this_optuna_has_no_part_for_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(optuna.samplers.QMCSampler, "_find_sample_id")
    with pytest.raises(UserError, match="--search qmc: not with optuna "):
        make([], [], sampler="qmc")
    monkeypatch.setitem(sys.modules, "optuna._transform", None)
    search = make([], [], sampler="cmaes")
    with pytest.raises(UserError, match="--search cmaes: not with optuna "):
        search.suggest("0")
