"""Training speed, and predicted against actual time: each figure beside its caption."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from minigpt_search.data.common.formatting import counted
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import (
    CHARACTER_INCHES,
    MANY_BARS,
    PALETTE,
    TEXT_POINTS,
    add_legend,
    line_style,
    new_figure,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.plan import END_SECONDS, START_SECONDS
from minigpt_search.search.space.axes import TOKENS


def throughput(trials: pd.DataFrame) -> Figure:
    """Training speed of each trial: a bar each, or a dot each where there are many."""
    speed = trials["tokens_per_second"] / 1000
    label = "thousand tokens per second"  # as much as fits beside long names
    if len(trials) > MANY_BARS:
        figure, axes = new_figure()
        axes.plot(range(1, len(trials) + 1), speed, linestyle="", marker="o", color=PALETTE[0])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial, in the order of the axes, or of losses")
        axes.set_ylabel(label)
        return figure
    names = [textwrap.fill(name, 30) for name in trials["trial"]]
    row_inches = max(0.42, 0.06 + 0.2 * max(name.count("\n") + 1 for name in names))
    figure, axes = new_figure(height_inches=1.2 + row_inches * len(trials))
    colours = [PALETTE[1] if best else PALETTE[0] for best in trials["best"]]
    rows = list(range(len(trials)))  # by position: two trials may share a label
    bars = axes.barh(rows, speed, color=colours, height=0.62)
    axes.set_yticks(rows, labels=names)
    steps = [
        f"{value:.1f} steps/s{', best' * best}"
        for value, best in zip(trials["steps_per_second"], trials["best"], strict=True)
    ]
    axes.bar_label(bars, labels=steps, padding=4, fontsize=TEXT_POINTS)
    beside = CHARACTER_INCHES * max(len(line) for name in names for line in name.split("\n"))
    width, room = 6.0 - beside, 0.2 + CHARACTER_INCHES * max(map(len, steps))
    axes.set_xlim(0, speed.max() * width / (width - room))  # room for the bars' labels
    axes.invert_yaxis()  # the first trial on top, as in the table
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    return figure


def predicted_time(trials: pd.DataFrame, predicted_seconds: float) -> Figure:
    """Each trial's seconds against its share of the predicted ones, by floating-point operations;
    on the diagonal the prediction was right."""
    figure, axes = new_figure()
    actual = trials["total_seconds"] / trials["pack"]
    predicted = predicted_seconds * trials["flop"] / trials["flop"].sum()
    style = line_style(PALETTE[0], "o")
    axes.plot(predicted, actual, linestyle="", alpha=0.7, **style)
    most = 1.08 * max(actual.max(), predicted.max())
    diagonal: dict[str, Any] = {"color": "#333333", "linestyle": "--", "linewidth": 1.2}
    axes.plot([0, most], [0, most], **diagonal)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.set_xlabel("predicted seconds of a trial")
    axes.set_ylabel("actual seconds")
    handles = [
        Line2D([], [], label="trials", linestyle="", **style),
        Line2D([], [], label="as predicted", **diagonal),
    ]
    add_legend(figure, handles)
    return figure


def throughput_figure(trials: pd.DataFrame, experiment: Experiment) -> ReportFigure:
    speed = trials["tokens_per_second"] / 1000
    slowest, fastest = f"{speed.min():.1f}", f"{speed.max():.1f}"
    spread = fastest if slowest == fastest else f"from {slowest} to {fastest}"
    spread += " thousand tokens per second"
    packed = (
        " Trials in a pack share their process: together they are faster by the size of the pack."
        if (trials["pack"] > 1).any()
        else ""
    )
    orange = len(trials) <= MANY_BARS and trials["best"].any()
    colour = "; the best trial is orange" if orange else ""
    return ReportFigure(
        name="throughput",
        title="Training speed",
        alt=f"Training speed of {counted(len(trials), 'trial')}, {spread}.",
        caption=f"Without evaluation and checkpoints, {spread}{colour}. "
        f"{counted(experiment.machine.max_concurrent, 'trial')} ran at a time with "
        f"{counted(experiment.machine.threads_per_trial, 'thread')} each: "
        f"speeds that differ can also mean a busy machine.{packed}",
        drawing=draw(throughput(trials)),
    )


def predicted_figures(trials: pd.DataFrame, experiment: Experiment) -> list[ReportFigure]:
    """The figure of a search that made a prediction and has ended as planned; none for others."""
    seconds = experiment.plan.predicted_seconds
    trials = trials[trials["replicate"] < experiment.noise.seeds]  # fresh seeds are not in the plan
    if experiment.ladder is not None:  # nor the runs of --verify
        trials = trials[trials[TOKENS].isin(experiment.ladder.rungs)]
    if not seconds or len(trials) < experiment.planned_trials:
        return []
    trials = trials[trials["taken_from"].isna()]  # nor what another search trained
    if trials.empty:
        return []
    # The prediction is of the clock, which trials that run at a time share, and from the plan to
    # the command's end: what trials report is without Ray's start and end.
    predicted = (seconds - START_SECONDS - END_SECONDS) * experiment.machine.max_concurrent
    if predicted <= 0:
        return []
    actual = (trials["total_seconds"] / trials["pack"]).sum()
    found = (
        f"The trials alone took {actual / predicted:.0%} of the time that the plan predicted for "
        "them; the command's last line compares all of it, with the search's start and end."
    )
    return [
        ReportFigure(
            name="predicted_time",
            title="Predicted against actual time",
            alt=f"Actual seconds of each trial against predicted ones. {found}",
            caption=f"{found} Above the dashed line a trial took longer than its share of the "
            "prediction, which is by floating-point operations.",
            drawing=draw(predicted_time(trials, predicted)),
        )
    ]
