"""The figures' structure: axes, scales, lines, marks."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import figures
from reports.frames import epochs_frame, trials_frame
from reports.gallery import gallery
from search.axes import AXES


def axes_of(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def many(build: Any, count: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    rates = tuple(round(1e-4 * 1.1**i, 9) for i in range(count))
    experiment = build.plan({"lr": rates})
    trials = [
        build.trial(experiment, {"lr": rate}, (8.0, 7 + 0.01 * abs(i - 20)))
        for i, rate in enumerate(rates)
    ]
    ledger = build.write(experiment, trials)
    return trials_frame(experiment, ledger), epochs_frame(experiment, ledger)


def test_loss_by_epoch_has_two_lines_a_trial(build: Any) -> None:
    figure = figures.loss_by_epoch(epochs_frame(*build.two_rates()))
    axes = axes_of(figure)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats per token)")
    assert [list(line.get_ydata()) for line in axes.lines] == [
        [7.125, 6.625, 6.125],
        [7.0, 6.5, 6.0],
        [8.125, 7.125, 7.625],
        [8.0, 7.0, 7.5],
    ]
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-", "--", "-"]
    assert legend_of(figure) == ["lr=0.001", "lr=0.0003", "validation", "training"]


def test_many_trials_share_one_entry_of_the_legend(build: Any) -> None:
    _, epochs = many(build)
    figure = figures.loss_by_epoch(epochs)
    labels = legend_of(figure)
    assert len(labels) == figures.HIGHLIGHTED + 3
    assert labels[figures.HIGHLIGHTED] == "37 other trials (validation)"
    grey = [line for line in axes_of(figure).lines if line.get_color() == figures.REST]
    assert len(grey) == 37
    top = sorted(axes_of(figure).lines, key=lambda line: line.get_zorder())[-1]
    assert top.get_ydata()[-1] == 7.0  # no other lies over it
    assert legend_of(figures.perplexity_by_epoch(epochs)) == labels[: figures.HIGHLIGHTED + 1]


def test_one_epoch_is_a_visible_point_in_the_middle(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3,)})
    ledger = build.write(experiment, [build.trial(experiment, {"lr": 1e-3}, (7.0,))])
    for draw in (figures.loss_by_epoch, figures.perplexity_by_epoch):
        axes = axes_of(draw(epochs_frame(experiment, ledger)))
        assert axes.get_xlim() == (0.5, 1.5)
        assert all(line.get_marker() not in ("", "None", None) for line in axes.lines)
        assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1.0]


def test_perplexity_is_on_a_log_axis_when_it_falls_tenfold(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3,)})
    trial = build.trial(experiment, {"lr": 1e-3}, (9.0, 8.0, 6.0))
    falls = epochs_frame(experiment, build.write(experiment, [trial]))
    assert axes_of(figures.perplexity_by_epoch(falls)).get_yscale() == "log"
    level = falls[falls["epoch"] > 1]
    assert axes_of(figures.perplexity_by_epoch(level)).get_yscale() == "linear"


def test_loss_against_learning_rate_is_log_and_marks_the_best(build: Any) -> None:
    frame = trials_frame(*build.two_rates())
    axes = axes_of(figures.loss_against(frame, AXES["lr"], []))
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "learning rate (log scale)"
    assert axes.get_ylabel() == "validation loss (nats per token)"
    assert list(axes.get_xticks()) == [3e-4, 1e-3]
    ring = axes.lines[-1]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([1e-3], [6.0])


def test_loss_against_width_has_a_line_for_each_learning_rate(build: Any) -> None:
    experiment = build.plan({"lr": (3e-4, 1e-3), "embed_dim": (64, 128)}, seeds=2)
    trials = [
        build.trial(experiment, {"lr": lr, "embed_dim": d}, (9 - 100 * lr - d / 64,), replicate=k)
        for lr in (3e-4, 1e-3)
        for d in (64, 128)
        for k in range(2)
    ]
    frame = trials_frame(experiment, build.write(experiment, trials))
    figure = figures.loss_against(frame, AXES["embed_dim"], ["lr"])
    axes = axes_of(figure)
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "embedding dimension"
    assert legend_of(figure)[:2] == ["lr=0.0003", "lr=0.001"]
    means = [line for line in axes.lines if line.get_marker() == "None"]
    assert [list(line.get_xdata()) for line in means] == [[64, 128], [64, 128]]


def test_throughput_is_a_bar_each_or_a_dot_each(build: Any) -> None:
    few = axes_of(figures.throughput(trials_frame(*build.two_rates())))
    assert [bar.get_width() for bar in few.patches] == [40.96, 40.96]
    assert few.get_xlabel() == "training speed (thousand tokens per second)"
    trials, _ = many(build)
    dots = axes_of(figures.throughput(trials))
    assert not dots.patches
    assert len(dots.lines[0].get_xdata()) == 40


def test_gallery_shows_complete_trials_only_and_stays_small(build: Any) -> None:
    pictures = gallery(*build.mixed())
    # one learning rate has finished: there is nothing to plot loss against
    assert [p.name for p in pictures] == ["loss_by_epoch", "perplexity_by_epoch", "throughput"]
    words = " ".join(picture.alt + picture.caption for picture in pictures)
    assert "7.125" in words
    assert "4.44" not in words
    assert "3.33" not in words
    assert all(picture.alt and len(picture.png) < 300_000 for picture in pictures)


def test_the_same_ledger_gives_the_same_pictures(build: Any) -> None:
    experiment, ledger = build.two_rates()
    first, second = gallery(experiment, ledger), gallery(experiment, ledger)
    assert [p.png for p in first] == [p.png for p in second]
    assert "loss_against_lr" in [p.name for p in first]
