"""Curves by step: the frame of points, and the figures' structure."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigpt_search.model.records import TrialCurve
from minigpt_search.reports.figures import step_curves
from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.reports.figures.style import REST
from minigpt_search.reports.page.compare import compare_page
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results

PER_EPOCH = 100
"""Steps of the trials that `build` makes, in 6 s, of 2,048 tokens each."""


def curved(record: TrialRecord, first: float = 10.0) -> TrialRecord:
    """The trial with a curve of ten points an epoch, and five validations on few windows, which are
    a quarter of a nat above the level, before its first epoch's end."""
    total = record.steps
    steps = tuple(range(10, total + 1, 10))
    end = record.final.val_loss_nats
    between = tuple(range(15, PER_EPOCH, 20))
    epochs = tuple(range(PER_EPOCH, total + 1, PER_EPOCH))
    losses = tuple(end + (first - end) * (1 - step / total) for step in steps)
    curve = TrialCurve(
        steps=steps,
        train_loss_nats=losses,
        grad_norm=tuple(1.0 + 1 / step for step in steps),
        grad_norm_max=(3.0,) * len(steps),
        lr=(1e-3,) * len(steps),
        val_steps=between + epochs,
        val_loss_nats=(9.25,) * len(between) + tuple(e.val_loss_nats for e in record.epochs),
        val_tokens=(320,) * len(between) + (16_384,) * len(epochs),
        few_val_loss_nats=end + 0.25,
    )
    return dataclasses.replace(record, curve=curve)


def two_curves(build: Any) -> Results:
    experiment, ledger = build.two_rates()
    better, worse = ledger.trials
    return Results(experiment, build.write(experiment, [curved(better), curved(worse)]))


def crowd(build: Any, count: int = 40) -> pd.DataFrame:
    """The points of so many trials of one epoch, the middle one of which is best."""
    rates = tuple(round(1e-4 * 1.01**i, 9) for i in range(count))
    experiment = build.plan({"lr": rates})
    trials = [
        curved(build.trial(experiment, {"lr": rate}, (7 + 0.01 * abs(i - count // 2),)))
        for i, rate in enumerate(rates)
    ]
    return Results(experiment, build.write(experiment, trials)).curves_frame


def axes_of(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_points_have_tokens_and_seconds_and_few_windows_are_shifted(build: Any) -> None:
    frame = two_curves(build).curves_frame
    first = frame[frame["trial"] == "lr=0.001"]
    training = first.dropna(subset=["train_loss_nats"])
    assert list(training["step"]) == list(range(10, 301, 10))
    assert list(training["tokens_seen"]) == [2048 * step for step in training["step"]]
    seconds = dict(zip(training["step"], training["wall_seconds"], strict=True))
    assert (seconds[50], seconds[100], seconds[250]) == (4.0, 6.0, 15.0)  # 2 s before the first
    validation = first.dropna(subset=["val_loss_nats"])
    assert list(validation["step"]) == [15, 35, 55, 75, 95, 100, 200, 300]
    assert list(validation["val_loss_nats"]) == [9.0] * 5 + [7.0, 6.5, 6.0]
    assert not first["by_epoch"].any()


def test_a_trial_without_a_curve_has_its_epochs(build: Any) -> None:
    experiment, ledger = build.two_rates()
    better, worse = ledger.trials
    frame = Results(experiment, build.write(experiment, [curved(better), worse])).curves_frame
    old = frame[frame["trial"] == "lr=0.0003"]
    assert list(old["step"]) == [100, 200, 300] and old["by_epoch"].all()
    assert list(old["val_loss_nats"]) == [8.0, 7.0, 7.5]
    figure = step_curves.loss_curves(frame, "tokens_seen")
    assert "o" in {line.get_marker() for line in axes_of(figure).lines}
    captions = " ".join(each.caption for each in step_curves.step_figures(frame))
    assert "without a curve" in captions


def test_few_trials_all_have_two_lines_and_a_name(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = two_curves(build).curves_frame
    figure = step_curves.loss_curves(frame, "tokens_seen")
    axes = axes_of(figure)
    assert axes.get_xlabel() == "training tokens seen (thousands, repeats counted)"
    assert len(axes.lines) == 4
    assert sorted(legend_of(figure)) == ["lr=0.0003", "lr=0.001", "training", "validation"]
    low, high = axes.get_ylim()
    monkeypatch.setattr(step_curves, "CUT_SHARE", 0.0)
    whole = axes_of(step_curves.loss_curves(frame, "tokens_seen")).get_ylim()
    assert low < 6.0 and 9.0 < high < whole[1]  # where it falls fastest is cut off


def test_of_many_the_best_the_median_and_the_worst_are_named(build: Any) -> None:
    frame = crowd(build)
    figure = step_curves.loss_curves(frame, "tokens_seen")
    labels = legend_of(figure)
    roles = [label.partition(" (")[2].rstrip(")") for label in labels[:5]]
    assert roles == ["best", "second", "third", "median", "worst"]
    final = frame.dropna(subset=["val_loss_nats"]).groupby("trial")["val_loss_nats"].last()
    by_role = dict(zip(roles, (label.partition(" (")[0] for label in labels), strict=False))
    assert final[by_role["best"]] == 7.0 and final[by_role["worst"]] == final.max()
    assert final[by_role["median"]] == pytest.approx(final.median(), abs=0.006)
    assert "35 other trials" in labels
    grey = [line for line in axes_of(figure).lines if line.get_color() == REST]
    assert len(grey) == 35
    top = max(axes_of(figure).lines, key=lambda line: line.get_zorder())
    assert top.get_ydata()[-1] == 7.0


def test_seeds_of_one_configuration_are_one_of_those_named(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3, 2e-3, 3e-3)}, seeds=4)
    trials = [
        curved(build.trial(experiment, {"lr": lr}, (7 + n + k / 10,), replicate=k))
        for n, lr in enumerate((1e-3, 2e-3, 3e-3))
        for k in range(4)
    ]
    frame = Results(experiment, build.write(experiment, trials)).curves_frame
    named = step_curves._named(frame, "val_loss_nats")
    final = frame.dropna(subset=["val_loss_nats"]).groupby("trial_id")["val_loss_nats"].last()
    assert [final[trial_id] for trial_id in named] == [7.0, 8.0, 9.0]


def test_gradient_norms_are_on_a_log_axis(build: Any) -> None:
    results = two_curves(build)
    axes = axes_of(step_curves.gradient_norms(results.curves_frame))
    assert axes.get_yscale() == "log" and len(axes.lines) == 2
    figure = step_curves.gradient_figure(results.curves_frame)
    assert "largest of a single step is 3." in figure.caption


def test_a_report_has_curves_by_step_where_there_are_some(build: Any, undrawn: None) -> None:
    names = [figure.name for figure in all_figures(two_curves(build))]
    assert names[:5] == [
        *("loss_by_tokens", "loss_by_seconds", "gradient_norm"),
        *("perplexity_by_epoch", "generalisation_gap"),
    ]
    experiment = build.plan({"lr": (1e-3,)})
    trial = curved(build.trial(experiment, {"lr": 1e-3}, (7.0,)))
    names = [f.name for f in all_figures(Results(experiment, build.write(experiment, [trial])))]
    assert "gradient_norm" in names and "perplexity_by_epoch" not in names  # a lone dot


def test_a_comparison_uses_them(build: Any, undrawn: None) -> None:
    searches = [two_curves(build), two_curves(build)]
    sections = compare_page(searches).sections
    (curves,) = [section for section in sections if section.title == "Curves of the best"]
    names = [figure.name for figure in curves.figures]
    assert names == ["loss_by_tokens", "loss_by_seconds", "gradient_norm", "generalisation_gap"]


@pytest.mark.slow
def test_a_figure_of_500_trials_is_small(build: Any) -> None:
    (figure, *_) = step_curves.step_figures(crowd(build, 500))
    assert len(figure.png) < 300_000


def test_a_caption_speaks_of_few_windows_where_a_run_was_long_enough_for_some(build: Any) -> None:
    results = two_curves(build)
    words = "Between epochs' ends validation is of a few windows"
    assert words in step_curves.step_figures(results.curves_frame)[0].caption
    whole = [
        dataclasses.replace(
            trial,
            curve=dataclasses.replace(
                trial.curve,
                val_steps=trial.curve.val_steps[-3:],
                val_loss_nats=trial.curve.val_loss_nats[-3:],
                val_tokens=trial.curve.val_tokens[-3:],
            ),
        )
        for trial in results.complete
        if trial.curve is not None
    ]
    short = Results(results.experiment, build.write(results.experiment, whole)).curves_frame
    caption = step_curves.step_figures(short)[0].caption
    assert words not in caption and "falls fastest. A validation line" in caption
