"""The learning curves: functions from a DataFrame of complete trials' epochs to a Figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from minigpt_search.data.common.formatting import MOST_PERPLEXITY, counted, perplexity
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import (
    CROWD,
    HIGHLIGHTED,
    LOSS_LABEL,
    MANY,
    MARKERS,
    PALETTE,
    REST,
    add_legend,
    line_style,
    new_figure,
)

NATS, BITS = "nats", "bits per byte"
LOSSES = {
    NATS: ("train_loss_nats", "val_loss_nats", LOSS_LABEL),
    BITS: ("train_bits_per_byte", "val_bits_per_byte", "loss (bits per byte)"),
}
"""Of each unit the columns of training and validation loss, and their axis."""


def learning_curves(epochs: pd.DataFrame, against: str, unit: str = NATS) -> Figure:
    """Training (dashed, hollow) and validation loss (solid, filled) of each trial, in a unit of
    `LOSSES`, against `tokens_seen`, `bytes_seen` or `wall_seconds`."""
    figure, axes = new_figure()
    handles = []
    training, validation, loss_label = LOSSES[unit]
    scale, count = unit_of_axis(epochs[against].max(), against)
    for trial, label, style in _trials(epochs, validation):
        x = trial[against] / scale
        name = trial["trial"].iloc[0]
        if label is not None:
            hollow = style | {"linestyle": "--", "markerfacecolor": "w"}
            axes.plot(x, trial[training], label=f"{name}, training", **hollow)
            handles.append(Line2D([], [], label=label, **style))
        axes.plot(x, trial[validation], label=f"{name}, validation", **style)
    styles = line_style("#333333", "o")
    handles += _rest_handle(epochs)
    handles.append(Line2D([], [], label="validation", **styles))
    handles.append(Line2D([], [], label="training", linestyle="--", markerfacecolor="w", **styles))
    axes.set_xlim(0, 1.04 * axes.dataLim.x1)  # room for the last marker
    axes.set_xlabel(label_against(against, count))
    axes.set_ylabel(loss_label)
    add_legend(figure, handles)
    return figure


_AGAINST = {
    "tokens_seen": "training tokens seen ({}repeats counted)",
    "bytes_seen": "bytes of training text seen ({}repeats counted)",
    "wall_seconds": "time since the trial's start ({})",
}


def label_against(against: str, count: str) -> str:
    """The label of an axis, with the name of its unit."""
    return _AGAINST[against].format(count)


def unit_of_axis(largest: float, against: str) -> tuple[float, str]:
    """What to divide an axis' values by, and the unit's name."""
    if against != "wall_seconds":
        units = ((1e6, "millions, "), (1e3, "thousands, "), (1, ""))
        return next(pair for pair in units if largest >= pair[0] or pair[0] == 1)
    times = ((7200, 3600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))
    return next((scale, name) for least, scale, name in times if largest >= least)


def perplexity_by_epoch(epochs: pd.DataFrame) -> Figure:
    """Validation perplexity of each trial, at most MOST_PERPLEXITY; on a log axis where it falls
    tenfold or more."""
    figure, axes = new_figure()
    epochs = epochs.assign(val_perplexity=epochs["val_perplexity"].clip(upper=MOST_PERPLEXITY))
    handles = []
    for trial, label, style in _trials(epochs):
        axes.plot(trial["epoch"], trial["val_perplexity"], label=trial["trial"].iloc[0], **style)
        if label is not None:
            handles.append(Line2D([], [], label=label, **style))
    log = epochs["val_perplexity"].max() >= 10 * epochs["val_perplexity"].min()
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    far = epochs["val_perplexity"].max() >= 1e6
    axes.yaxis.set_major_formatter(
        StrMethodFormatter("{x:.0e}" if far else "{x:,.0f}" if log else "{x:,g}")
    )
    _epoch_axis(axes, epochs)
    axes.set_ylabel("validation perplexity" + (" (log scale)" if log else ""))
    add_legend(figure, handles + _rest_handle(epochs))
    return figure


def _trials(
    epochs: pd.DataFrame, loss: str = "val_loss_nats"
) -> Iterator[tuple[pd.DataFrame, str | None, dict[str, Any]]]:
    """Each trial's epochs, its label if the legend is to name it, and its style.

    With few trials each has a colour, in the order of their labels' first appearance; with many
    only the best by the column `loss`, above the others, the very best on top.
    """
    by_trial = dict(iter(epochs.sort_values("epoch").groupby("trial_id", sort=False)))
    order = list(epochs["trial_id"].unique())
    shown = order
    if len(order) > MANY:
        final = {t: by_trial[t][loss].iloc[-1] for t in order}
        # Of each configuration its best seed: three seeds of one configuration say less than three.
        configurations = {t: by_trial[t]["configuration"].iloc[0] for t in order}
        first = {configurations[t]: t for t in sorted(order, key=final.__getitem__, reverse=True)}
        shown = sorted(first.values(), key=final.__getitem__)[:HIGHLIGHTED]
    for trial_id in [t for t in order if t not in shown]:
        yield by_trial[trial_id], None, _faint(len(by_trial[trial_id]), len(order))
    for number, trial_id in enumerate(shown):
        style = line_style(PALETTE[number], MARKERS[number])
        if len(order) > MANY:
            style["zorder"] = 3 + HIGHLIGHTED - number  # lines are at 2
        yield by_trial[trial_id], str(by_trial[trial_id]["trial"].iloc[0]), style


def _faint(epochs: int, trials: int) -> dict[str, Any]:
    """A trial among the rest: the fainter the more there are, so that their density shows."""
    alpha = max(0.12, min(0.7, 25 / trials))
    style = {"color": REST, "linewidth": 0.8, "markersize": 4, "alpha": alpha}
    if epochs == 1:
        return style | {"marker": "o"}  # it has no line to be seen by
    return style | {"marker": "." if trials <= CROWD else ""}


def _rest_handle(epochs: pd.DataFrame) -> list[Line2D]:
    count = epochs["trial_id"].nunique()
    if count <= MANY:
        return []
    coloured = min(HIGHLIGHTED, epochs["configuration"].nunique())
    label = f"{count - coloured} other trials"
    return [Line2D([], [], label=label, color=REST, marker=".")]


def _epoch_axis(axes: Axes, epochs: pd.DataFrame) -> None:
    # Half an epoch on both sides: a run of one epoch is a point in the middle, not on the frame.
    axes.set_xlim(0.5, epochs["epoch"].max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.set_xlabel("epoch")


def generalisation_gap(epochs: pd.DataFrame) -> Figure:
    """Validation less training loss of each trial by epoch; zero is marked."""
    figure, axes = new_figure()
    handles = []
    axes.axhline(0, color="#333333", linewidth=1)
    for trial, label, style in _trials(epochs):
        gap = trial["val_loss_nats"] - trial["train_loss_nats"]
        axes.plot(trial["epoch"], gap, label=trial["trial"].iloc[0], **style)
        if label is not None:
            handles.append(Line2D([], [], label=label, **style))
    _epoch_axis(axes, epochs)
    axes.set_ylabel("validation − training loss (nats)")
    add_legend(figure, handles + _rest_handle(epochs))
    return figure


def learning_figures(epochs: pd.DataFrame) -> list[ReportFigure]:
    """Training and validation loss against tokens and against seconds."""
    words = (
        f"Lower is better. {_ends(epochs)} Training loss (dashed) is a mean over the whole epoch, "
        "measured with dropout, so it may lie above validation loss; a validation line that turns "
        "up while training falls is overfitting."
    )
    if epochs["trial_id"].nunique() > MANY:
        words += " Grey are validation losses; in colour the trials that end lowest, one of each "
        words += "configuration."
    against = (
        ("tokens_seen", "loss_by_tokens", "training tokens", words),
        (
            "wall_seconds",
            "loss_by_seconds",
            "time",
            f"The same against the clock. {_ends(epochs)} A line that is lower at the same time "
            "learns more a second; seconds depend on what else the machine did.",
        ),
    )
    return [
        ReportFigure(
            name=name,
            title=f"Loss against {title}",
            alt=f"Lines of training and validation loss against {title} for {_count(epochs)}. "
            f"{_ends(epochs)}",
            caption=caption,
            drawing=draw(learning_curves(epochs, column)),
        )
        for column, name, title, caption in against
    ]


def bits_figures(epochs: pd.DataFrame) -> list[ReportFigure]:
    """The same in bits per byte, against bytes and against seconds: of trials whose tokens are not
    the same pieces of text. Takes the columns `train_bits_per_byte` and `bytes_seen` too."""
    ends = _ends(epochs, BITS)
    against = (
        ("bytes_seen", "bits_by_bytes", "training text", "Lower is better."),
        ("wall_seconds", "bits_by_seconds", "time", "The same against the clock."),
    )
    return [
        ReportFigure(
            name=name,
            title=f"Bits per byte against {title}",
            alt=f"Lines of training and validation loss in bits per byte against {title} for "
            f"{_count(epochs)}. {ends}",
            caption=f"{words} {ends} Training loss (dashed) is a mean over the whole epoch, "
            "measured with dropout.",
            drawing=draw(learning_curves(epochs, column, BITS)),
        )
        for column, name, title, words in against
    ]


def perplexity_figure(epochs: pd.DataFrame) -> ReportFigure:
    best = epochs.sort_values("epoch").groupby("trial_id")["val_perplexity"].last().min()
    beyond = f" What is {perplexity(math.inf)} is drawn there."
    beyond *= bool((epochs["val_perplexity"] > MOST_PERPLEXITY).any())
    return ReportFigure(
        name="perplexity_by_epoch",
        title="Perplexity by epoch",
        alt=f"Lines of validation perplexity by epoch for {_count(epochs)}; the lowest ends at "
        f"{perplexity(best)}.",
        caption="Perplexity is the exponential of validation loss: among how many equally likely "
        f"tokens the model is undecided. The lowest ends at {perplexity(best)}.{beyond}",
        drawing=draw(perplexity_by_epoch(epochs)),
    )


def gap_figure(epochs: pd.DataFrame) -> ReportFigure:
    last = epochs.sort_values("epoch").groupby("trial_id").last()
    gap = last["val_loss_nats"] - last["train_loss_nats"]
    ends = f"At the end it is between {gap.min():+.3f} and {gap.max():+.3f} nats."
    if len(gap) == 1:
        ends = f"At the end it is {gap.iloc[0]:+.3f} nats."
    return ReportFigure(
        name="generalisation_gap",
        title="Generalisation gap",
        alt=f"Validation less training loss by epoch for {_count(epochs)}. {ends}",
        caption=f"Validation less training loss. {ends} Above zero the training text is fitted "
        "better than unseen text. Below zero is usual in the first epochs: training loss is a mean "
        "over the epoch, with dropout.",
        drawing=draw(generalisation_gap(epochs)),
    )


def _count(epochs: pd.DataFrame) -> str:
    return counted(epochs["trial_id"].nunique(), "trial")


def _ends(epochs: pd.DataFrame, unit: str = NATS) -> str:
    last = epochs.sort_values("epoch").groupby("trial_id")[LOSSES[unit][1]].last()
    if len(last) == 1:
        return f"Validation loss ends at {last.iloc[0]:.3f} {unit}."
    return f"Validation loss ends between {last.min():.3f} and {last.max():.3f} {unit}."
