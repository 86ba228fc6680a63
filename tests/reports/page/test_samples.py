"""The samples' section, and whose models are asked. No training, no torch but for what is asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.reports.page.page import to_html
from minigpt_search.reports.page.samples_section import samples_section
from minigpt_search.search.records.ledger_lines import decode, encode
from minigpt_search.search.records.samples import BEST, MEDIAN, WORST, Samples
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES
from minigpt_search.search.trials.sampling import draw_samples, sampled_trials


def searched(build: Any, *rates: float) -> Any:
    """Two seeds of each rate, the first rate best."""
    experiment = build.plan({"lr": rates}, seeds=2)
    trials = [
        build.trial(experiment, {"lr": rate}, (8.0, 7 + n / 10 + k / 100), replicate=k)
        for n, rate in enumerate(rates)
        for k in range(2)
    ]
    return experiment, build.write(experiment, trials)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((1e-3,), [(BEST, 1e-3)]),
        ((1e-3, 2e-3), [(BEST, 1e-3), (WORST, 2e-3)]),
        ((1e-3, 2e-3, 4e-3), [(BEST, 1e-3), (MEDIAN, 2e-3), (WORST, 4e-3)]),
        ((1e-3, 2e-3, 3e-3, 4e-3, 5e-3), [(BEST, 1e-3), (MEDIAN, 3e-3), (WORST, 5e-3)]),
    ],
)
def test_the_best_the_median_and_the_worst_are_asked(
    build: Any, rates: tuple[float, ...], expected: list[tuple[str, float]]
) -> None:
    asked = sampled_trials(Results(*searched(build, *rates)))
    assert [(role, AXES["lr"].value(trial.config)) for role, trial in asked] == expected


def test_weights_that_are_gone_are_said_to_be(build: Any, tmp_path: Path) -> None:
    drawn = draw_samples(Results(*searched(build, 1e-3, 2e-3)), tmp_path, tmp_path)
    assert [(each.role, each.texts, each.missing) for each in drawn] == [
        (role, (), "its weights are not kept") for role in (BEST, WORST)
    ]


def test_without_a_rerun_the_command_is_told(build: Any) -> None:
    (step,) = samples_section(Results(*searched(build, 1e-3)), "/srv/x").steps
    assert step.command.endswith("search/rerun.py lr-quick --out /srv/x")


def test_the_same_prompts_stand_under_each_model(build: Any) -> None:
    from minigpt_search.reports.page.page import build_page

    experiment, ledger = searched(build, 1e-3, 2e-3)
    best, worst = ledger.trials[0], ledger.trials[2]
    evil = "<script>alert(1)</script> | **x**"
    prompts = ("The president", "The company")
    samples = (
        Samples(role=BEST, trial_id=best.trial_id, prompts=prompts, texts=("of", evil)),
        Samples(
            role=WORST, trial_id=worst.trial_id, prompts=prompts, texts=(), missing="its weights"
            " are not kept",
        ),
    )  # fmt: skip
    record = dataclasses.replace(build.rerun(best, 7.0), samples=samples)
    assert decode(encode(record)) == record
    ledger.append(record)
    section = samples_section(Results(experiment, ledger), None)
    (table,) = section.tables
    assert table.frame["prompt"].tolist() == list(prompts)
    assert table.frame["continuation"].tolist() == ["of", evil]
    assert section.paragraphs == [
        "Of the worst configuration there is no text: its weights are not kept."
    ]
    assert evil not in to_html(build_page(Results(experiment, ledger)))


def test_a_rerun_of_before_reads_without_samples(build: Any) -> None:
    _, ledger = searched(build, 1e-3)
    line = encode(build.rerun(ledger.trials[0], 7.0))
    assert b'"samples":[]' in line and decode(line).samples == ()  # type: ignore[union-attr]


def test_samples_must_be_one_a_prompt(build: Any) -> None:
    _, ledger = searched(build, 1e-3)
    torn = Samples(role=BEST, trial_id="a", prompts=("x", "y"), texts=("z",))
    record = dataclasses.replace(build.rerun(ledger.trials[0], 7.0), samples=(torn,))
    with pytest.raises(ValueError, match="one for each prompt"):
        encode(record)
