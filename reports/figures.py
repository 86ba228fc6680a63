"""The figures: functions from a DataFrame of complete trials or epochs to a matplotlib Figure.

Drawn on Figure objects (no pyplot, no global state), so that they need no display. Colours are
Okabe and Ito's, told apart by colour-blind readers; its yellow, faint on white, is left out for
grey. Every trial has a marker of its own besides its colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from search.axes import AXES, Axis
from search.axis import Value

# https://jfly.uni-koeln.de/color/ (Okabe and Ito 2008)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
REST = "#B3B3B3"
MANY = 8
"""More trials than this are not told apart by colour: the best few are, the rest are grey."""
HIGHLIGHTED = 3
CROWD = 100
"""More trials than this are lines without markers."""
MANY_BARS = 14
"""More bars than this don't fit a page's height legibly: a dot each instead."""

TEXT_POINTS = 12
"""Large for the figures' 6.5 inches, so that a phone's 3.5 still show it."""
LOSS_LABEL = "loss (nats per token)"


def _figure(width_inches: float = 6.5, height_inches: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT_POINTS)
    axes.xaxis.label.set_fontsize(TEXT_POINTS + 1)
    axes.yaxis.label.set_fontsize(TEXT_POINTS + 1)
    return figure, axes


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Below the axes, where it can't cover data, on a strip that it adds to the height."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), 70 // (longest + 7)))  # 70 characters fit in a line
    figure.set_figheight(figure.get_figheight() + 0.27 * math.ceil(len(handles) / columns))
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=TEXT_POINTS,
    )


def loss_by_epoch(epochs: pd.DataFrame) -> Figure:
    """Training (dashed, hollow) and validation loss (solid, filled) of each trial."""
    figure, axes = _figure()
    handles = []
    for trial, label, look in _trials(epochs):
        if label is not None:
            axes.plot(
                trial["epoch"],
                trial["train_loss_nats"],
                linestyle="--",
                markerfacecolor="w",
                **look,
            )
            handles.append(Line2D([], [], label=label, **look))
        axes.plot(trial["epoch"], trial["val_loss_nats"], **look)
    styles = _look("#333333", "o")
    handles += _rest_handle(epochs)
    handles.append(Line2D([], [], label="validation", **styles))
    handles.append(Line2D([], [], label="training", linestyle="--", markerfacecolor="w", **styles))
    _epoch_axis(axes, epochs)
    axes.set_ylabel(LOSS_LABEL)
    _legend(figure, handles)
    return figure


def perplexity_by_epoch(epochs: pd.DataFrame) -> Figure:
    """Validation perplexity of each trial; on a log axis where it falls tenfold or more."""
    figure, axes = _figure()
    handles = []
    for trial, label, look in _trials(epochs):
        axes.plot(trial["epoch"], trial["val_perplexity"], **look)
        if label is not None:
            handles.append(Line2D([], [], label=label, **look))
    log = epochs["val_perplexity"].max() >= 10 * epochs["val_perplexity"].min()
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if log else "{x:,g}"))
    _epoch_axis(axes, epochs)
    axes.set_ylabel("validation perplexity" + (" (log scale)" if log else ""))
    _legend(figure, handles + _rest_handle(epochs))
    return figure


def _trials(epochs: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, str | None, dict[str, Any]]]:
    """Each trial's epochs, its label if the legend is to name it, and its look.

    With few trials each has a colour, in the order of their labels' first appearance; with many
    only the best, above the others, the very best on top.
    """
    by_trial = dict(iter(epochs.sort_values("epoch").groupby("trial_id", sort=False)))
    order = list(epochs["trial_id"].unique())
    shown = order
    if len(order) > MANY:
        final = {t: by_trial[t]["val_loss_nats"].iloc[-1] for t in order}
        shown = sorted(order, key=final.__getitem__)[:HIGHLIGHTED]
    for trial_id in [t for t in order if t not in shown]:
        yield by_trial[trial_id], None, _faint(len(by_trial[trial_id]), len(order))
    for place, trial_id in enumerate(shown):
        look = _look(PALETTE[place], MARKERS[place])
        if len(order) > MANY:
            look["zorder"] = 3 + HIGHLIGHTED - place  # lines are at 2
        yield by_trial[trial_id], str(by_trial[trial_id]["experiment"].iloc[0]), look


def _look(colour: str, marker: str) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "markersize": 7}


def _faint(epochs: int, trials: int) -> dict[str, Any]:
    """A trial among the rest: the fainter the more there are, so that their density shows."""
    alpha = max(0.12, min(0.7, 25 / trials))
    look = {"color": REST, "linewidth": 0.8, "markersize": 4, "alpha": alpha}
    # A run of one epoch is a point; hundreds of lines need no points on them.
    return look | {"marker": "." if epochs == 1 or trials <= CROWD else ""}


def _rest_handle(epochs: pd.DataFrame) -> list[Line2D]:
    count = epochs["trial_id"].nunique()
    if count <= MANY:
        return []
    label = f"{count - HIGHLIGHTED} other trials (validation)"
    return [Line2D([], [], label=label, color=REST, marker=".")]


def _epoch_axis(axes: Axes, epochs: pd.DataFrame) -> None:
    # Half an epoch on both sides: a run of one epoch is a point in the middle, not on the frame.
    axes.set_xlim(0.5, epochs["epoch"].max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.set_xlabel("epoch")


def loss_against(trials: pd.DataFrame, axis: Axis, others: Sequence[str]) -> Figure:
    """Final validation loss against an axis' values: a line for each setting of the `others`, a
    point for each trial, the best ringed."""
    figure, axes = _figure()
    if axis.categorical:  # as words, which stand side by side
        trials = trials.assign(**{axis.name: trials[axis.name].map(axis.exact)})
    groups = list(trials.groupby(list(others), sort=True)) if others else [((), trials)]
    told_apart = len(groups) <= MANY
    if not told_apart:
        groups = [((), trials)]  # one look for all, drawn at once
    handles = []
    for place, (values, group) in enumerate(groups):
        colour, marker = (PALETTE[place], MARKERS[place]) if told_apart else (PALETTE[0], "o")
        look = _look(colour, marker)
        alpha = 1.0 if told_apart else 0.45  # a crowd's density shows
        axes.plot(group[axis.name], group["val_loss_nats"], linestyle="", alpha=alpha, **look)
        if told_apart:
            if not axis.categorical:  # a line through the replicates' means
                means = group.groupby(axis.name)["val_loss_nats"].mean()
                axes.plot(means.index, means, color=colour, linewidth=1.5)
            label = ", ".join(f"{n}={AXES[n].show(v)}" for n, v in zip(others, values, strict=True))
            handles.append(Line2D([], [], label=label or "trials", **look))
    best = trials.sort_values("val_loss_nats", kind="stable").iloc[0]
    ring: dict[str, Any] = {
        "marker": "o",
        "markersize": 15,
        "markerfacecolor": "none",
        "linestyle": "",
    }
    ring |= {"markeredgecolor": "#000000", "markeredgewidth": 1.8}
    axes.plot([best[axis.name]], [best["val_loss_nats"]], **ring)
    handles.append(
        Line2D([], [], label=f"best: {best['experiment']}, {best['val_loss_nats']:.3f}", **ring)
    )
    _value_axis(axes, axis, sorted(trials[axis.name].unique()))
    axes.set_ylabel("validation " + LOSS_LABEL)
    _legend(figure, handles)
    return figure


def _value_axis(axes: Axes, axis: Axis, values: Sequence[Value]) -> None:
    if axis.categorical:
        axes.set_xlabel(axis.label)
        axes.margins(x=0.25)
        return
    if axis.log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(values) <= MANY:
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
        axes.xaxis.set_minor_locator(NullLocator())
    elif axis.log:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    parts = ([axis.unit] if axis.unit else []) + (["log scale"] if axis.log else [])
    axes.set_xlabel(axis.label + (f" ({', '.join(parts)})" if parts else ""))


def throughput(trials: pd.DataFrame) -> Figure:
    """Training speed of each trial: a bar each, or a dot each where there are many."""
    speed = trials["tokens_per_second"] / 1000
    label = "training speed (thousand tokens per second)"
    if len(trials) > MANY_BARS:
        figure, axes = _figure()
        axes.plot(range(1, len(trials) + 1), speed, linestyle="", marker="o", color=PALETTE[0])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial, in the order of the experiments table")
        axes.set_ylabel("thousand tokens per second")  # as much as fits the height
        return figure
    figure, axes = _figure(height_inches=1.2 + 0.42 * len(trials))
    colours = [PALETTE[1] if best else PALETTE[0] for best in trials["best"]]
    rows = list(range(len(trials)))  # by position: two trials may share a label
    bars = axes.barh(rows, speed, color=colours, height=0.62)
    axes.set_yticks(rows, labels=list(trials["experiment"]))
    steps = [f"{value:.1f} steps/s" for value in trials["steps_per_second"]]
    axes.bar_label(bars, labels=steps, padding=4, fontsize=TEXT_POINTS)
    axes.set_xlim(0, speed.max() * 1.25)  # room for the bars' labels
    axes.invert_yaxis()  # the first trial on top, as in the table
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    return figure
