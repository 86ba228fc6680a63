"""What a report opens with, in which order the rest follows, and where the claims are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.reports.figures.axis_plots import lowest_configuration
from minigpt_search.reports.page.page import Page, build_page, to_html, to_markdown
from minigpt_search.search.results.results import Results


def over(build: Any, axes: dict[str, tuple[Any, ...]], **changes: Any) -> Results:
    """A grid's or a sampler's search over `axes`, every pair of values finished."""
    ranges = {name: (min(values), max(values)) for name, values in axes.items()}
    experiment = build.plan(ranges if changes.get("sampler") else axes, **changes)
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    trials = [build.trial(experiment, cell, (8.0, 7 + n / 50)) for n, cell in enumerate(cells)]
    return Results(experiment, build.write(experiment, trials))


def opening_of(page: Page) -> list[str]:
    return [figure.name for figure in page.sections[0].figures]


@pytest.mark.usefixtures("undrawn")
def test_the_answer_is_first_and_the_setup_last(build: Any) -> None:
    page = build_page(Results(*build.two_rates()))
    first = page.sections[0]
    assert list(first.lines) == ["Use", "Loss", "Costs", "Next", "Command"]
    assert first.lines["Use"].startswith("lr=0.001")
    assert [section.title for section in page.sections] == [
        "The answer",
        "Trials",
        "Samples",
        "Training results by epoch",
        "Figures",
        "Provenance",
        "Architecture and parameters",
        "Training",
        "Data set",
    ]
    html = to_html(page)
    places = [html.index(text) for text in ("<dl>", "<figure>", "cautions", "<nav", 'id="trials"')]
    assert places[0] < places[1] < places[3] < places[4]
    markdown = to_markdown(page)
    assert markdown.index("**Use** lr=0.001") < markdown.index("figures/loss_against_lr.png")
    assert markdown.index("figures/loss_by_tokens.png") < markdown.index("## 2. Trials")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("axes", "sampler", "picture"),
    [
        ({"lr": (3e-4, 1e-3)}, None, "loss_against_lr"),
        ({"dropout": (0.0, 0.1)}, None, "loss_against_dropout"),
        ({"lr": (3e-4, 1e-3), "dropout": (0.0, 0.1)}, None, "loss_heat_map"),
        ({"lr": (3e-4, 1e-3), "dropout": (0.0, 0.1), "seq_len": (32, 64)}, None, "loss_against_lr"),
        ({"lr": (3e-4, 1e-3, 2e-3), "dropout": (0.0, 0.1)}, "tpe", "contour"),
        ({"dropout": (0.0, 0.1, 0.2, 0.3, 0.4)}, "tpe", "slices"),
    ],
)
def test_it_opens_with_loss_over_what_was_searched_and_the_curves(
    build: Any, axes: dict[str, tuple[Any, ...]], sampler: str | None, picture: str
) -> None:
    page = build_page(over(build, axes, sampler=sampler, samples=8 if sampler else None))
    assert opening_of(page) == [picture, "loss_by_tokens"]
    names = [figure.name for figure in page.figures]
    assert len(set(names)) == len(names)  # none a second time among the rest


@pytest.mark.usefixtures("undrawn")
def test_of_one_axis_at_a_time_the_picture_has_the_answer_and_names_what_is_fixed(
    build: Any,
) -> None:
    """The claims' best is of more epochs than the baseline, which the slice over rates has not."""
    results = Results(*build.claims())
    page, best = build_page(results), results.winning_trial
    assert best is not None and best.config.train.epochs > 1
    picture = page.sections[0].figures[0]
    assert picture.name == "loss_against_epochs"
    assert f"is at {best.config.train.epochs}." in picture.caption
    titles = {figure.name: figure.title for figure in page.figures}
    epochs, tokens = results.experiment.space.base.train.epochs, "seq_len=64 batch_size=4"
    assert titles["loss_against_lr"] == (
        f"Validation loss against learning rate with epochs={epochs} embed_dim=128 {tokens}"
    )
    [rates] = [figure for figure in page.figures if figure.name == "loss_against_lr"]
    assert f"The lowest mean of 3 seeds with epochs={epochs} embed_dim=128" in rates.caption


@pytest.mark.usefixtures("undrawn")
def test_claims_are_where_their_grid_ran(build: Any) -> None:
    elsewhere = build_page(Results(*build.two_rates()))
    assert not {"claims", "scaling_laws"} & {table.name for table in elsewhere.tables}
    assert not any(section.title.startswith("Claims") for section in elsewhere.sections)
    page = build_page(Results(*build.claims()))
    assert {"claims", "scaling_laws"} <= {table.name for table in page.tables}
    (told, *_), none = (
        next(s for s in each.sections if s.title == "Training").paragraphs
        for each in (elsewhere, page)
    )
    assert "Assignment 2" in told and told.endswith("search/run.py --grid claims") and none == []


@pytest.mark.parametrize("sampler", [None, "tpe"])
def test_no_decay_at_all_is_a_value_on_an_axis_of_logarithms(
    build: Any, sampler: str | None
) -> None:
    axes = {"weight_decay": (0.0, 0.1, 0.3), "lr": (3e-4, 1e-3)}
    results = over(build, axes, sampler=sampler, samples=6 if sampler else None)
    assert {"slices" if sampler else "loss_against_weight_decay"} <= {
        figure.name for figure in all_figures(results)
    }


def test_what_diverged_is_shown_and_never_the_lowest(build: Any) -> None:
    """A seed of 2e-3 has the lowest loss, another diverged: it is left out, as by the answer."""
    experiment = build.plan({"lr": (1e-3, 2e-3, 4e-3)}, seeds=2)
    ends = {1e-3: (7.0, 7.1), 2e-3: (6.0, None), 4e-3: (None, None)}
    trials = [
        build.trial(experiment, {"lr": lr}, (8.0, loss), replicate=k)
        if loss
        else build.trial(experiment, {"lr": lr}, (9.0,), "diverged", replicate=k)
        for lr, losses in ends.items()
        for k, loss in enumerate(losses)
    ]
    results = Results(experiment, build.write(experiment, trials))
    figure = next(f for f in all_figures(results) if f.name == "loss_against_lr")
    assert figure.caption.startswith(
        "The lowest mean of 2 seeds, 7.050 nats, is at 0.001. Diverged, without a loss: "
        "3 trials, at 0.002, 0.004."
    )
    assert "diverged: no loss" in figure.svg and "95% interval of the mean" in figure.svg
    assert results.winner is not None and results.winner.configuration.values == {"lr": 1e-3}
    frame = results.trials_frame
    done, out = frame[frame["status"] == "complete"], frame[frame["status"] == "diverged"]
    assert lowest_configuration(done, ["lr"])["lr"] == 2e-3
    assert lowest_configuration(done, ["lr"], out)["lr"] == 1e-3


def test_a_heat_map_says_which_pair_diverged(build: Any) -> None:
    axes = {"lr": (1e-3, 4e-3), "dropout": (0.0, 0.1)}
    experiment = build.plan(axes)
    cells = [{"lr": lr, "dropout": d} for lr in axes["lr"] for d in axes["dropout"]]
    trials = [build.trial(experiment, cell, (8.0, 7.0)) for cell in cells[:3]]
    trials.append(build.trial(experiment, cells[3], (9.0,), "diverged"))
    figures = all_figures(Results(experiment, build.write(experiment, trials)))
    (drawn,) = [figure.svg for figure in figures if figure.name == "loss_heat_map"]
    assert "× diverged" in drawn and "–" not in drawn
