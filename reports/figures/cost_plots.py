"""Loss against cost, and over two axes: each figure beside its caption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from minigpt_search.data.common.formatting import counted
from minigpt_search.reports.figures.axis_plots import configuration_means, lowest_configuration
from minigpt_search.reports.figures.report_figure import ReportFigure, png_of
from minigpt_search.reports.figures.style import (
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
from minigpt_search.search.space.axes import AXES, Axis


def heat_map(trials: pd.DataFrame, across: Axis, up: Axis) -> Figure:
    """The lowest validation loss, a mean over seeds, of each pair of two axes' values, over all
    else that varies; a pair that was not tried is left blank. The best pair is framed."""
    means = configuration_means(trials)
    table = means.pivot_table("val_loss_nats", index=up.name, columns=across.name, aggfunc="min")
    figure, axes = new_figure(height_inches=1.6 + 0.62 * len(table))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    values = table.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="cividis", aspect="auto", origin="lower")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text, colour = ("–", "#333333") if np.isnan(value) else (f"{value:.3f}", "white")
        if value > middle:  # cividis is light at its upper end
            colour = "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=TEXT_POINTS)
    row, column = np.unravel_index(np.nanargmin(values), values.shape)
    frame: dict[str, Any] = {"fill": False, "edgecolor": PALETTE[1], "linewidth": 3}
    axes.add_patch(Rectangle((float(column) - 0.48, float(row) - 0.46), 0.96, 0.92, **frame))
    axes.set_xticks(range(len(table.columns)), labels=[f"{v:g}" for v in table.columns])
    axes.set_yticks(range(len(table.index)), labels=[f"{v:g}" for v in table.index])
    axes.tick_params(length=0)
    axes.set_xlabel(across.label)
    axes.set_ylabel(up.label)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("validation loss (nats)", fontsize=TEXT_POINTS)
    bar.ax.tick_params(labelsize=TEXT_POINTS)
    return figure


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


def heat_map_figures(trials: pd.DataFrame, experiment: Experiment) -> list[ReportFigure]:
    """The heat map of a grid over epochs and width, if it is one."""
    across, up = AXES["epochs"], AXES["embed_dim"]
    if experiment.plan.sampler is not None or not {across.name, up.name} <= set(
        experiment.space.axes
    ):
        return []
    if trials[across.name].nunique() < 2 or trials[up.name].nunique() < 2:
        return []
    best = lowest_configuration(trials, list(experiment.space.axes))
    found = (
        f"The lowest, {best['val_loss_nats']:.3f} nats, is at {best[across.name]:g} epochs and "
        f"width {best[up.name]:g}."
    )
    return [
        ReportFigure(
            name="loss_heat_map",
            title="Validation loss over epochs and width",
            alt=f"Heat map of the lowest validation loss by epochs and embedding dimension. "
            f"{found}",
            caption=f"{found} Darker is lower; each cell is the lowest of all else that varies, "
            "seeds averaged, and – was not tried. Both axes cost more to the right and to the top.",
            png=png_of(heat_map(trials, across, up)),
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
        png=png_of(loss_against_cost(trials)),
    )
