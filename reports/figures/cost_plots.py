"""Loss against cost, and over two axes: each figure beside its caption."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from minigpt_search.data.common.formatting import counted
from minigpt_search.reports.figures.axis_plots import configuration_means, lowest_configuration
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import (
    CHARACTER_INCHES,
    LINE_INCHES,
    LOSS_LABEL,
    PALETTE,
    REST,
    TEXT_POINTS,
    add_legend,
    line_style,
    log_locator,
    new_figure,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.cost import not_dominated
from minigpt_search.search.space.axes import AXES, Axis, Value
from minigpt_search.search.space.axis_words import axis_text

DIVERGED_WORD = "× diverged"
PLOT_INCHES = 3.9
"""Width of a heat map's cells together, beside its labels and its bar of colours."""
ROW_INCHES, MOST_INCHES = 0.62, 5.0
"""Height of a row of cells, and of all of them together."""
SMALLEST_POINTS = 7
"""A loss that would have to be smaller to fit in its cell is left to the colour."""
NEARLY_WHITE, NEARLY_BLACK = "#fefefe", "#010101"
"""Of text on a colour that is the same in dark mode: the page's own colours would change."""


def heat_map(
    trials: pd.DataFrame, across: Axis, up: Axis, diverged: pd.DataFrame | None = None
) -> Figure:
    """The lowest validation loss, a mean over seeds, of each pair of two axes' values, over all
    else that varies; a pair without a result says whether it diverged or was not tried. The best
    pair is framed."""
    diverged = trials.head(0) if diverged is None else diverged
    means = configuration_means(trials)
    table = means.pivot_table("val_loss_nats", index=up.name, columns=across.name, aggfunc="min")
    table = table.reindex(
        index=sorted({*table.index, *diverged[up.name]}),
        columns=sorted({*table.columns, *diverged[across.name]}),
    )
    height = min(MOST_INCHES, ROW_INCHES * len(table))
    figure, axes = new_figure(height_inches=1.6 + height)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    values = table.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="cividis", aspect="auto", origin="lower")
    _cell_texts(axes, table, set(zip(diverged[up.name], diverged[across.name], strict=True)))
    best = lowest_configuration(trials, [n for n in trials.columns if n in AXES], diverged)
    row = list(table.index).index(best[up.name])
    column = list(table.columns).index(best[across.name])
    frame: dict[str, Any] = {"fill": False, "edgecolor": PALETTE[1], "linewidth": 3}
    axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, **frame))
    _label_columns(axes, [axis_text(across, value) for value in table.columns])
    each = _every(len(table), height)
    axes.set_yticks(
        range(0, len(table), each), labels=[axis_text(up, v) for v in table.index[::each]]
    )
    axes.tick_params(length=0)
    axes.set_xlabel(across.label)
    axes.set_ylabel(up.label)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("validation loss (nats)", fontsize=TEXT_POINTS)
    bar.ax.tick_params(labelsize=TEXT_POINTS)
    return figure


def _label_columns(axes: Axes, labels: list[str]) -> None:
    """Upright where one would run into the next, and of many only every so manieth."""
    wide = CHARACTER_INCHES * max(map(len, labels)) > PLOT_INCHES / len(labels)
    each = _every(len(labels), PLOT_INCHES) if wide else 1
    axes.set_xticks(range(0, len(labels), each), labels=labels[::each], rotation=90 * wide)


def _every(count: int, inches: float) -> int:
    """Every how manieth of `count` labels has room for a line's height, of so many inches."""
    return max(1, math.ceil(count * LINE_INCHES / inches))


def _cell_texts(axes: Axes, table: pd.DataFrame, diverged: set[tuple[Value, Value]]) -> None:
    """Each cell's loss, as large as there is room for, in a colour that is read on its own, in dark
    mode too. Where there is none, only what has no loss is marked."""
    values = table.to_numpy(dtype=float)
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    longest = max(len(f"{value:.3f}") for value in values[~np.isnan(values)])
    width = PLOT_INCHES / values.shape[1]
    height = min(ROW_INCHES, MOST_INCHES / values.shape[0])
    size = TEXT_POINTS * min(1, width / (CHARACTER_INCHES * longest), height / LINE_INCHES)
    word = CHARACTER_INCHES * len(DIVERGED_WORD) * size / TEXT_POINTS
    cross = DIVERGED_WORD if word < width else DIVERGED_WORD[0]
    for row, column in np.ndindex(values.shape):
        value, pair = values[row, column], (table.index[row], table.columns[column])
        text, colour = f"{value:.3f}" if size >= SMALLEST_POINTS else "", NEARLY_WHITE
        if np.isnan(value):
            text, colour = cross if pair in diverged else "–", "#333333"
        elif value > middle:  # cividis is light at its upper end
            colour = NEARLY_BLACK
        look: dict[str, Any] = {"color": colour, "fontsize": max(size, SMALLEST_POINTS)}
        axes.text(column, row, text, ha="center", va="center", **look)


def pareto_front(trials: pd.DataFrame) -> pd.DataFrame:
    """The configurations that no other beats in both cost and loss, the cheapest first, each by the
    means of its seeds: of single trials those would be left that had luck."""
    means = configuration_means(trials)
    return means.iloc[not_dominated(list(zip(means["flop"], means["val_loss_nats"], strict=True)))]


def loss_against_cost(trials: pd.DataFrame) -> Figure:
    """Each trial's validation loss against its floating-point operations, and the front of the
    configurations that are not beaten in both."""
    figure, axes = new_figure()
    front = pareto_front(trials)
    alpha = 1.0 if len(trials) <= 40 else 0.45
    rest: dict[str, Any] = {"marker": "o", "markersize": 6, "linestyle": "", "color": REST}
    axes.plot(trials["flop"], trials["val_loss_nats"], alpha=alpha, **rest)
    style = line_style(PALETTE[0], "o")
    # A step: between two configurations of the front, the cheaper one's loss is what can be had.
    axes.step(front["flop"], front["val_loss_nats"], where="post", **style)
    seeds = ", means of seeds" if front["seeds"].max() > 1 else ""
    handles = [Line2D([], [], label=f"best at its cost (Pareto front){seeds}", **style)]
    if len(front) < len(trials):
        label = "trials" if seeds else "beaten by one that cost no more"
        handles.append(Line2D([], [], label=label, **rest))
    log = bool(trials["flop"].max() > 2 * trials["flop"].min())
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(log_locator(trials["flop"].min(), trials["flop"].max()))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda flop, _: f"{flop:.3g}".replace("+", "")))
    axes.set_xlabel("floating-point operations of the training" + " (log scale)" * log)
    axes.set_ylabel("validation " + LOSS_LABEL)
    add_legend(figure, handles)
    return figure


def heat_map_figures(
    trials: pd.DataFrame, experiment: Experiment, diverged: pd.DataFrame
) -> list[ReportFigure]:
    """The heat map of a grid over two axes, or over epochs and width among others; none of any
    other search."""
    names = list(experiment.space.axes)
    pair = ["epochs", "embed_dim"] if {"epochs", "embed_dim"} <= set(names) else names
    if experiment.plan.sampler is not None or len(pair) != 2:
        return []
    across, up = (AXES[name] for name in pair)
    if trials[across.name].nunique() < 2 or trials[up.name].nunique() < 2:
        return []
    best = lowest_configuration(trials, names, diverged)
    found = (
        f"The lowest, {best['val_loss_nats']:.3f} nats, is at {across.label} "
        f"{axis_text(across, best[across.name])} and {up.label} {axis_text(up, best[up.name])}."
    )
    others = "the lowest of all else that varies, " if len(names) > 2 else ""
    crossed = ", × diverged" if len(diverged) else ""
    unsteady = " One that diverged with a seed is not framed." if len(diverged) else ""
    return [
        ReportFigure(
            name="loss_heat_map",
            title=f"Validation loss over {across.label} and {up.label}",
            alt=f"Heat map of the lowest validation loss by {across.label} and {up.label}. {found}",
            caption=f"{found} Darker is lower; each cell is {others}the mean over its seeds, and – "
            f"was not tried{crossed}.{unsteady}",
            drawing=draw(heat_map(trials, across, up, diverged)),
        )
    ]


def cost_figure(trials: pd.DataFrame) -> ReportFigure:
    front, tried = pareto_front(trials), len(configuration_means(trials))
    averaged = tried < len(trials)
    of = (
        f"{counted(tried, 'configuration')}, seeds averaged,"
        if averaged
        else counted(tried, "trial")
    )
    cheapest, best = front.iloc[0], front.iloc[-1]
    if len(front) > 1:
        found = (
            f"{len(front)} of {of} are best at their cost, from "
            f"{cheapest['val_loss_nats']:.3f} nats for {cheapest['flop']:.1e} FLOP to "
            f"{best['val_loss_nats']:.3f} for {best['flop']:.1e}."
        )
    else:
        found = (
            f"The best of {of} is also among the cheapest: {best['val_loss_nats']:.3f} nats for "
            f"{best['flop']:.1e} FLOP."
        )
    return ReportFigure(
        name="loss_against_cost",
        title="Validation loss against cost",
        alt=f"Validation loss against floating-point operations with the Pareto front. {found}",
        caption=f"{found} What lies above the stepped line cost as much as a better one or more. "
        "A front that is still steep at its right end says that more training may pay.",
        drawing=draw(loss_against_cost(trials)),
    )
