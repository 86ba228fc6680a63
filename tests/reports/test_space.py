"""Reports of searches over words, truth values and choices, with two objectives and a limit."""

from __future__ import annotations

from typing import Any

import pytest

from minigpt_search.model.records import DIVERGED, Timing
from minigpt_search.reports.figures.axis_plots import loss_against
from minigpt_search.reports.page.page import build_page, to_html, to_markdown
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.front import front_sentence, front_table, limit_sentence
from minigpt_search.search.answer.text_table import as_text, trials_table
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.edges import edges
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES

AXES_OF_GRID = {"tie_head": (True, False), "n_heads": (2, 4), "weight_decay": (0.1, 0.3)}


def searched(build: Any, **changes: Any) -> tuple[Experiment, Ledger]:
    """Eight trials, the last the best and the slowest."""
    experiment = build.plan(AXES_OF_GRID, **changes)
    cells = [
        {"tie_head": tied, "n_heads": heads, "weight_decay": decay}
        for tied in (True, False)
        for heads in (2, 4)
        for decay in (0.1, 0.3)
    ]
    records = [
        build.trial(
            experiment, cell, (8.0, 7.0 - i / 8), timing=Timing(training_seconds=1.0 + i % 7)
        )
        for i, cell in enumerate(cells)
    ]
    return experiment, build.write(experiment, records)


def test_a_truth_value_is_never_at_an_edge(build: Any) -> None:
    experiment, ledger = searched(build)
    best = ledger.best()
    assert best is not None and not best.config.model.tie_head
    assert [edge.axis.name for edge in edges(experiment, best.config)] == [
        "n_heads",
        "weight_decay",
    ]


@pytest.mark.usefixtures("undrawn")
def test_the_page_has_every_axis(build: Any) -> None:
    experiment, ledger = searched(build)
    page = build_page(Results(experiment, ledger))
    text = to_markdown(page)
    assert "tie_head=false n_heads=4 weight_decay=0.3" in text
    assert "tied head (true, false) and the attention heads (2, 4)" in text
    assert "weight decay 0.1, 0.3 (searched)" in text
    assert {"loss_against_tie_head", "loss_against_n_heads"} <= {p.name for p in page.figures}
    assert "tied head" in to_html(page)


def test_words_stand_side_by_side_without_a_line(build: Any) -> None:
    experiment, ledger = searched(build)
    figure = loss_against(Results(experiment, ledger).trials_frame, AXES["tie_head"], ["n_heads"])
    [axes] = figure.axes
    figure.canvas.draw()
    assert {text.get_text() for text in axes.get_xticklabels()} == {"true", "false"}
    assert all(line.get_linestyle() == "None" for line in axes.get_lines())


def test_the_next_commands_give_the_values_by_space(build: Any) -> None:
    experiment, ledger = searched(build, objectives=("val_loss", "flop"), max_cost="1Pflop")
    commands = [step.command for step in answer(Results(experiment, ledger)).steps]
    assert any("--space weight_decay=0.1,0.3,0.6" in command for command in commands)
    assert any("--space n_heads=2,4,8" in command for command in commands)


def test_choices_of_a_sampler_are_at_an_edge_only_at_their_ends(build: Any) -> None:
    axes = {"embed_dim": (16, 64, 256), "lr": (1e-4, 1e-2)}
    experiment = build.plan(axes, sampler="tpe", samples=3, kinds={"embed_dim": "choices"})
    inside = experiment.space.base.replace(embed_dim=64, lr_peak=1e-3)
    assert edges(experiment, inside) == []
    near = experiment.space.base.replace(embed_dim=256, lr_peak=9.9e-3)
    assert [edge.axis.name for edge in edges(experiment, near)] == ["embed_dim", "lr"]


@pytest.mark.usefixtures("undrawn")
def test_the_front_and_the_limit_are_told(build: Any) -> None:
    experiment, ledger = searched(build, objectives=("val_loss", "seconds"), max_cost="4s")
    table = front_table(Results(experiment, ledger))
    # Seconds 1..7,1; losses 7, 6.875, ... 6.125: the eighth beats the first, then what is lower.
    assert list(table["training_seconds"]) == [1.0]
    assert list(table["val_loss_nats"]) == [6.125]
    assert "3 finished trials cost more" in str(limit_sentence(Results(experiment, ledger)))
    notes = list(trials_table(Results(experiment, ledger))["notes"])
    assert sum("above --max-cost" in note for note in notes) == 3
    assert "Pareto front" in to_markdown(build_page(Results(experiment, ledger)))
    assert "7.0" in as_text(Results(experiment, ledger).trials_frame[["val_loss_nats"]])


def test_the_front_is_of_means_over_seeds_and_not_of_lucky_trials(build: Any) -> None:
    axes = {"epochs": (1, 2, 3, 4)}
    experiment = build.plan(axes, seeds=3, objectives=("val_loss", "flop"))
    ends = {1: (7.0, 7.5, 7.9), 2: (7.3, 7.25, 7.2), 3: (7.3, 7.4, 7.35), 4: (7.0, 7.0)}
    records = [
        build.trial(experiment, {"epochs": epochs}, [*[8.0] * (epochs - 1), loss], replicate=seed)
        for epochs, losses in ends.items()
        for seed, loss in enumerate(losses)
    ]
    records.append(build.trial(experiment, {"epochs": 4}, (8.0,), DIVERGED, replicate=2))
    ledger = build.write(experiment, records)
    table = front_table(Results(experiment, ledger))
    assert list(table["configuration"]) == ["epochs=1", "epochs=2"]
    assert list(table["val_loss_nats"]) == pytest.approx([22.4 / 3, 7.25])
    assert "2 of 3 configurations by the means of their seeds" in front_sentence(
        Results(experiment, ledger)
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("limit", ["0.5s", "1flop"])
def test_where_nothing_is_within_the_limit_there_is_no_best(build: Any, limit: str) -> None:
    experiment, ledger = searched(build, max_cost=limit)
    assert Results(experiment, ledger).winning_trial is None
    page = to_markdown(build_page(Results(experiment, ledger)))
    assert "8 finished trials cost more and can't be the best" in page.replace("’", "'")
