"""The figures of finished trials: functions from a DataFrame with one row a trial to a Figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from reports.drawing import (
    CHARACTER_INCHES,
    LOSS_LABEL,
    MANY,
    MANY_BARS,
    MARKERS,
    PALETTE,
    REST,
    TEXT_POINTS,
    add_legend,
    log_locator,
    look_of,
    new_figure,
    value_axis,
)
from search.axes import AXES, Axis


class Optimum(Protocol):
    """Where a fitted curve is lowest, and the ends of its interval if it has one."""

    @property
    def rate(self) -> float: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def lowest_setting(trials: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """The values of axes `names` with the lowest mean over their trials (seeds), with that mean as
    `val_loss_nats` and their number as `seeds`: as the winner is found."""
    means = _means(trials, names)
    return means.iloc[int(means["val_loss_nats"].argmin())]


def settings(trials: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting, with the means over its trials (seeds): `val_loss_nats`, `flop`; and
    their number, `seeds`."""
    return _means(trials, [name for name in trials.columns if name in AXES])


def _means(trials: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    groups = trials.groupby(list(names), sort=False, dropna=False)
    means = groups.agg(
        val_loss_nats=("val_loss_nats", "mean"),
        flop=("flop", "mean"),
        seeds=("val_loss_nats", "size"),
    )
    return means.reset_index()


def loss_against(
    trials: pd.DataFrame, axis: Axis, others: Sequence[str], optimum: Optimum | None = None
) -> Figure:
    """Final validation loss against an axis' values: a line for each setting of the `others`, a
    point for each trial, the lowest mean ringed; a fitted optimum is a line across with its
    interval as a band."""
    figure, axes = new_figure()
    if axis.categorical:  # as words, which stand side by side
        trials = trials.assign(**{axis.name: trials[axis.name].map(axis.exact)})
    groups = list(trials.groupby(list(others), sort=True)) if others else [((), trials)]
    told_apart = len(groups) <= MANY
    if not told_apart:
        groups = [((), trials)]  # one look for all, drawn at once
    handles = []
    for place, (values, group) in enumerate(groups):
        colour, marker = (PALETTE[place], MARKERS[place]) if told_apart else (PALETTE[0], "o")
        look = look_of(colour, marker)
        alpha = 1.0 if told_apart else 0.45  # a crowd's density shows
        axes.plot(group[axis.name], group["val_loss_nats"], linestyle="", alpha=alpha, **look)
        if told_apart:
            if not axis.categorical:  # a line through the replicates' means
                means = group.groupby(axis.name)["val_loss_nats"].mean()
                axes.plot(means.index, means, color=colour, linewidth=1.5)
            label = ", ".join(f"{n}={AXES[n].show(v)}" for n, v in zip(others, values, strict=True))
            handles.append(Line2D([], [], label=label or "trials", **look))
    best = lowest_setting(trials, [axis.name, *others])
    ring: dict[str, Any] = {
        "marker": "o",
        "markersize": 15,
        "markerfacecolor": "none",
        "linestyle": "",
    }
    ring |= {"markeredgecolor": "#000000", "markeredgewidth": 1.8}
    axes.plot([best[axis.name]], [best["val_loss_nats"]], **ring)
    lowest = "lowest mean" if best["seeds"] > 1 else "lowest"
    handles.append(Line2D([], [], label=f"{lowest}: {best['val_loss_nats']:.3f} nats", **ring))
    value_axis(axes, axis, sorted(trials[axis.name].unique()))
    if optimum is not None:
        limits = axes.get_xlim()  # an interval far wider than the values would squeeze them
        fitted: dict[str, Any] = {"color": PALETTE[1], "linestyle": ":", "linewidth": 2}
        axes.axvline(optimum.rate, **fitted)
        label = f"fitted optimum {optimum.rate:.2g}"
        if optimum.low is not None and optimum.high is not None:
            axes.axvspan(optimum.low, optimum.high, color=PALETTE[1], alpha=0.15, linewidth=0)
            label += ", 95% interval shaded"
        handles.append(Line2D([], [], label=label, **fitted))
        axes.set_xlim(limits)
    axes.set_ylabel("validation " + LOSS_LABEL)
    add_legend(figure, handles)
    return figure


def throughput(trials: pd.DataFrame) -> Figure:
    """Training speed of each trial: a bar each, or a dot each where there are many."""
    speed = trials["tokens_per_second"] / 1000
    label = "thousand tokens per second"  # as much as fits beside long names
    if len(trials) > MANY_BARS:
        figure, axes = new_figure()
        axes.plot(range(1, len(trials) + 1), speed, linestyle="", marker="o", color=PALETTE[0])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial, in the order of the experiments table")
        axes.set_ylabel(label)
        return figure
    names = [textwrap.fill(name, 30) for name in trials["experiment"]]
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


def heat_map(trials: pd.DataFrame, across: Axis, up: Axis) -> Figure:
    """The lowest validation loss, a mean over seeds, of each pair of two axes' values, over all
    else that varies; a pair that was not tried is left blank. The best pair is framed."""
    means = settings(trials)
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
    """The settings that no other beats in both cost and loss, the cheapest first, each by the means
    of its seeds: of single trials those would be left that had luck."""
    ordered = settings(trials).sort_values(["flop", "val_loss_nats"], kind="stable")
    best_before = ordered["val_loss_nats"].cummin().shift(fill_value=np.inf)
    return ordered[ordered["val_loss_nats"] < best_before]


def loss_against_cost(trials: pd.DataFrame) -> Figure:
    """Each trial's validation loss against its floating-point operations, and the front of the
    settings that are not beaten in both."""
    figure, axes = new_figure()
    front = pareto_front(trials)
    alpha = 1.0 if len(trials) <= 40 else 0.45
    rest: dict[str, Any] = {"marker": "o", "markersize": 6, "linestyle": "", "color": REST}
    axes.plot(trials["flop"], trials["val_loss_nats"], alpha=alpha, **rest)
    look = look_of(PALETTE[0], "o")
    # A step: between two settings of the front, the cheaper one's loss is what can be had.
    axes.step(front["flop"], front["val_loss_nats"], where="post", **look)
    seeds = ", means of seeds" if front["seeds"].max() > 1 else ""
    handles = [Line2D([], [], label=f"best at its cost (Pareto front){seeds}", **look)]
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


def predicted_time(trials: pd.DataFrame, predicted_seconds: float) -> Figure:
    """Each trial's seconds against its share of the predicted ones, by floating-point operations;
    on the diagonal the prediction was right."""
    figure, axes = new_figure()
    actual = trials["total_seconds"] / trials["pack"]
    predicted = predicted_seconds * trials["flop"] / trials["flop"].sum()
    look = look_of(PALETTE[0], "o")
    axes.plot(predicted, actual, linestyle="", alpha=0.7, **look)
    most = 1.08 * max(actual.max(), predicted.max())
    diagonal: dict[str, Any] = {"color": "#333333", "linestyle": "--", "linewidth": 1.2}
    axes.plot([0, most], [0, most], **diagonal)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.set_xlabel("predicted seconds of a trial")
    axes.set_ylabel("actual seconds")
    handles = [
        Line2D([], [], label="trials", linestyle="", **look),
        Line2D([], [], label="as predicted", **diagonal),
    ]
    add_legend(figure, handles)
    return figure
