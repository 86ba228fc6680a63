"""What is advised and said where trials diverged or found too little memory."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from minigpt_search.model.records import DIVERGED, FAILED, STOPPED
from minigpt_search.search.answer.advice import steps
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.endings import divergence, endings
from minigpt_search.search.records.plan import FailedPoint
from minigpt_search.search.results.results import Results

RATES = (5e-4, 1e-3, 2e-3, 1.0)
NO_MEMORY = "out of memory: DefaultCPUAllocator"


def whole(results: Results) -> bool | None:
    """Whether the search is whole in spite of what diverged; None if nothing did."""
    found = divergence(results)
    return None if found is None else found[1]


def test_between_the_best_and_what_diverged_rates_are_tried(
    build: Any, made: Any, read_back: Any
) -> None:
    losses = {5e-4: [7.4], 1e-3: [7.3], 2e-3: [7.0]}
    experiment, ledger = made({"lr": RATES}, losses)
    ledger.append(build.trial(experiment, {"lr": 1.0}, (), DIVERGED))
    results = Results(experiment, ledger)
    found = answer(results)
    assert found.steps[0].why == "lr=1 and above diverged: try between 0.002 and that"
    axes, _ = read_back(found)[0]
    assert axes == {"lr": (5e-4, 1e-3, 2e-3, 0.016, 0.13)}  # thirds, in logarithms
    [alarm] = found.alarms
    assert alarm == (
        "lr=1 and above diverged, next to the best at 0.002: a better one may lie between"
    )
    assert results.edges == [] and whole(results)


def test_beyond_the_other_edge_what_diverged_is_not_tried_again(
    build: Any, made: Any, read_back: Any
) -> None:
    losses = {5e-4: [7.0], 1e-3: [7.3], 2e-3: [7.4]}
    experiment, ledger = made({"lr": RATES}, losses)
    ledger.append(build.trial(experiment, {"lr": 1.0}, (), DIVERGED))
    found = answer(Results(experiment, ledger))
    assert "lower edge" in found.steps[0].why
    assert read_back(found)[0][0] == {"lr": (2.5e-4, 5e-4, 1e-3, 2e-3)}


def test_what_is_known_of_an_extended_search_is_no_edge(made: Any, read_back: Any) -> None:
    losses = {5e-4: [7.4], 1e-3: [7.3], 2e-3: [7.0]}
    known = (FailedPoint(values={"lr": 4e-3}, reason=DIVERGED),)
    experiment, ledger = made({"lr": RATES[:3]}, losses, failed_points=known)
    found = answer(Results(experiment, ledger))
    assert "edge" not in " ".join(found.lines())
    assert read_back(found)[0][0] == {"lr": (*RATES[:3], 2.8e-3)}


def test_a_fitted_rate_among_those_tried_comes_before_what_lies_at_the_barrier(
    build: Any, made: Any, read_back: Any
) -> None:
    losses = {1e-3: [7.4], 3e-3: [7.05], 3e-2: [7.0]}
    experiment, ledger = made({"lr": (*losses, 0.5)}, losses)
    ledger.append(build.trial(experiment, {"lr": 0.5}, (), DIVERGED))
    results = Results(experiment, ledger)
    found = answer(results)
    assert found.best_rate is not None and 4e-3 < found.best_rate.rate < 2.5e-2
    rate = float(f"{found.best_rate.rate:.2g}")
    first, second = found.steps[:2]
    assert first.why == f"the fitted best rate, {rate:g}, lies between those tried: try it"
    assert read_back(found)[0][0] == {"lr": (1e-3, 3e-3, rate, 3e-2)}
    assert second.why == "lr=0.5 and above diverged: try between 0.03 and that"
    for fitted in (None, 0.0302, 0.1, 1e-4):  # near the winner, at the barrier, beyond those tried
        assert steps(results, None, fitted)[0].why == second.why


def test_what_a_warm_start_tells_is_no_barrier_and_still_keeps_values_short_of_it(
    made: Any, read_back: Any
) -> None:
    losses = {5e-4: [7.4], 1e-3: [7.3], 2e-3: [7.0]}
    for known, advised in ((0.5, [4e-3]), (3e-3, [2.4e-3]), (2.1e-3, [])):
        points = (FailedPoint(values={"lr": known}, reason=DIVERGED, warm=True),)
        experiment, ledger = made({"lr": RATES[:3]}, losses, failed_points=points)
        found = answer(Results(experiment, ledger))
        assert [alarm.partition(":")[0] for alarm in found.alarms] == [
            "lr=0.002 is at the upper edge of its grid"
        ]
        assert "diverged" not in " ".join(found.lines())
        rates = {rate for axes, _ in read_back(found) for rate in axes["lr"]}
        assert sorted(rates - set(RATES[:3])) == advised


def test_short_of_the_own_barrier_a_warm_start_may_know_a_nearer_one(
    build: Any, made: Any, read_back: Any
) -> None:
    known = (FailedPoint(values={"lr": 4e-3}, reason=DIVERGED, warm=True),)
    losses = {5e-4: [7.4], 1e-3: [7.3], 2e-3: [7.0]}
    experiment, ledger = made({"lr": RATES}, losses, failed_points=known)
    ledger.append(build.trial(experiment, {"lr": 1.0}, (), DIVERGED))
    found = answer(Results(experiment, ledger))
    assert "lr=1 and above diverged" in found.alarms[0]
    assert read_back(found)[0][0] == {"lr": (*RATES[:3], 2.8e-3)}


def test_a_width_without_memory_is_not_tried_again_on_any_way(
    build: Any, made: Any, read_back: Any
) -> None:
    axes = {"lr": (5e-4, 1e-3), "embed_dim": (64, 128, 256)}
    experiment = build.plan(axes, command=("search/run.py", "--lr", "5e-4,1e-3",
                                           "--embed-dim", "64,128,256"))  # fmt: skip
    records = [
        build.trial(experiment, {"lr": lr, "embed_dim": width}, (8.0, 7.9, 7 + lr - width / 1000))
        for lr in axes["lr"]
        for width in (64, 128)
    ]
    records += [
        build.trial(experiment, {"lr": lr, "embed_dim": 256}, (), FAILED, error=NO_MEMORY)
        for lr in axes["lr"]
    ]
    results = Results(experiment, build.write(experiment, records))
    found = answer(results)
    resume, between, edge = found.steps[:3]
    assert "2 of them failed" in resume.why and "found too little memory" in between.why
    plans = [axes for axes, _ in read_back(found)]
    assert plans[0] == {"lr": (5e-4, 1e-3), "embed_dim": (64, 128, 192)}
    assert "lower edge" in edge.why
    assert plans[1] == {"lr": (2.5e-4, 5e-4, 1e-3), "embed_dim": (64, 128)}
    assert whole(results) is None


def test_a_samplers_range_ends_short_of_what_diverged(
    build: Any, made: Any, read_back: Any
) -> None:
    experiment, ledger = made(
        {"lr": (1e-4, 1.0)}, {1e-3: [7.5], 2e-2: [7.0]}, sampler="tpe", samples=4
    )
    for rate in (0.09, 0.9):
        ledger.append(build.trial(experiment, {"lr": rate}, (), DIVERGED))
    results = Results(experiment, ledger)
    step = answer(results).steps[0]
    words = shlex.split(step.command)
    assert words[-4:] == ["--space", "lr=0.0001:0.077:log", "--trials", "6"]
    assert step.why == "lr=0.09 and above diverged: try between 0.02 and that" and whole(results)
    read_back(answer(results))


def test_more_trials_of_a_sampler_keep_short_of_what_diverged_too(build: Any, made: Any) -> None:
    experiment, ledger = made(
        {"lr": (1e-4, 1.0)}, {1e-3: [7.0], 2e-2: [7.6]}, sampler="tpe", samples=3
    )
    ledger.append(build.trial(experiment, {"lr": 0.9}, (), DIVERGED))
    step = answer(Results(experiment, ledger)).steps[0]
    assert "try more configurations" in step.why
    assert step.command.endswith("--space lr=0.0001:0.62:log --trials 5")


def test_of_a_samplers_axes_the_rate_is_blamed_first(build: Any, made: Any) -> None:
    axes = {"embed_dim": (32, 256), "lr": (1e-4, 1.0)}
    experiment = build.plan(axes, sampler="tpe", samples=3)
    cells = [{"embed_dim": 64, "lr": 1e-3}, {"embed_dim": 128, "lr": 2e-3}]
    records = [build.trial(experiment, cell, (8.0, 7.9, 7.0)) for cell in cells]
    records.append(build.trial(experiment, {"embed_dim": 256, "lr": 0.5}, (), DIVERGED))
    [barrier] = Results(experiment, build.write(experiment, records)).barriers
    assert barrier.axis.name == "lr" and barrier.value == 0.5


@pytest.mark.parametrize(
    ("diverged", "expected"),
    [((1.0,), True), ((2e-3, 1.0), True), ((5e-4, 1.0), True), ((2e-3,), False), (RATES, False)],
)
def test_only_what_diverged_at_an_end_is_no_failure(
    build: Any, diverged: tuple[float, ...], expected: bool
) -> None:
    experiment = build.plan({"lr": RATES})
    records = [
        build.trial(experiment, {"lr": rate}, (), DIVERGED)
        if rate in diverged
        else build.trial(experiment, {"lr": rate}, (8.0, 7.9, 7 + abs(rate - 1e-3)))
        for rate in RATES
    ]
    results = Results(experiment, build.write(experiment, records))
    assert whole(results) == expected
    line, _ = divergence(results) or ("", False)
    assert line.startswith(f"{len(diverged)} trial")
    assert ("lr=0.002" in line) == (diverged == (2e-3,))


def test_of_two_axes_a_corner_is_an_end_and_a_gap_is_none(build: Any) -> None:
    axes = {"lr": (1e-3, 2e-3, 4e-3), "embed_dim": (64, 128)}
    for cell, expected in (((4e-3, 128), True), ((2e-3, 128), False)):
        experiment = build.plan(axes)
        records = [
            build.trial(experiment, {"lr": lr, "embed_dim": width}, (), DIVERGED)
            if (lr, width) == cell
            else build.trial(experiment, {"lr": lr, "embed_dim": width}, (8.0, 7.9, 7 + lr))
            for lr in axes["lr"]
            for width in axes["embed_dim"]
        ]
        assert whole(Results(experiment, build.write(experiment, records))) == expected


def test_a_winner_that_diverged_with_a_seed_is_no_whole_search(build: Any, made: Any) -> None:
    experiment, ledger = made({"lr": RATES[:3]}, {2e-3: [7.0]}, seeds=2)
    ledger.append(build.trial(experiment, {"lr": 2e-3}, (8.0,), DIVERGED, replicate=1))
    results = Results(experiment, ledger)
    assert whole(results) is False
    assert not any("beyond" in step.why for step in answer(results).steps)


def test_of_all_trials_the_screen_says_what_became(build: Any) -> None:
    experiment, ledger = build.mixed()
    text = endings(Results(experiment, ledger))
    for rate in ("0.0001", "0.0003", "0.0005", "0.001"):
        assert sum(line.startswith(f"lr={rate} ") for line in text.splitlines()) == 1
    complete, other = text.split("Without a result")
    assert "stopped" not in complete and "4.7777" not in text and "3.3333" not in text
    assert "not finite at step 140" in other
    assert text.endswith("1 of 5 trials finished; 1 stopped; 1 diverged; 1 failed; 1 not run yet.")


def test_of_many_trials_the_best_and_the_counts_are_shown(build: Any) -> None:
    experiment = build.plan({"lr": (1e-5, 1e-2)}, sampler="tpe", samples=60)
    records = [
        build.trial(experiment, {"lr": 1e-5 * (n + 1)}, (8.0, 7.9, 7 + (n - 20) ** 2 / 1000))
        for n in range(40)
    ]
    records += [
        build.trial(experiment, {"lr": 1e-3 + n * 1e-5}, (), STOPPED, error="stopped at 1/8")
        for n in range(20)
    ]
    text = endings(Results(experiment, build.write(experiment, records)))
    assert len(text.splitlines()) < 35 and "best" in text
    assert text.count("stopped at 1/8") == 10
    assert text.endswith("40 of 60 trials finished; 20 stopped; the report shows all.")
