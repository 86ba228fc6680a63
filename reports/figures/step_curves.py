"""Curves by step: functions from a DataFrame of points (`search/results/frames.py`) to a Figure.

Of many trials the best three, the median and the two worst are named, one of each configuration;
the rest are grey.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from minigpt_search.data.common.formatting import counted
from minigpt_search.reports.figures.learning_curves import (
    BITS,
    LOSSES,
    NATS,
    label_against,
    unit_of_axis,
)
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import (
    MANY,
    MARKERS,
    PALETTE,
    REST,
    add_legend,
    line_style,
    log_locator,
    new_figure,
)

ROLES = (("best", 0.0), ("second", 0.0), ("third", 0.0), ("median", 0.5), ("worst", 1.0))
"""Of many trials those that are named, and where they stand: 0 is the best end, 1 the worst."""
CUT_SHARE = 0.1
"""Of a run at its start: its training loss falls so fast there that the rest would be flat."""


def loss_curves(curves: pd.DataFrame, against: str, unit: str = NATS) -> Figure:
    """Training loss (thin) and validation loss (with marks) of each trial, in a unit of `LOSSES`,
    against `tokens_seen`, `bytes_seen` or `wall_seconds`."""
    figure, axes = new_figure(height_inches=4.4)
    training, validation, loss_label = LOSSES[unit]
    scale, count = unit_of_axis(curves[against].max(), against)
    handles, tops = [], []
    for points, label, style in _trials(curves, validation):
        by_epoch = points["by_epoch"].iloc[0]
        val = points.dropna(subset=[validation])
        if label is not None:
            train = points.dropna(subset=[training])
            thin = style | {"linewidth": 1, "alpha": 0.55, "marker": ""}
            if by_epoch:
                thin = style | {"linestyle": "--", "markerfacecolor": "w"}
            axes.plot(train[against] / scale, train[training], **thin)
            handles.append(Line2D([], [], label=label, **style))
            shown = train[train["step"] > CUT_SHARE * train["step"].max()]
            tops.append(max(shown[training].max(), val[validation].max()))
        axes.plot(val[against] / scale, val[validation], **style)
    handles = handles[::-1] + _rest_handle(curves, validation)
    handles.append(Line2D([], [], label="validation", **line_style("#333333", "o")))
    thin = {"color": "#333333", "linewidth": 1, "alpha": 0.55}
    handles.append(Line2D([], [], label="training", **thin))
    _limit(axes, max(tops))
    axes.set_xlabel(label_against(against, count))
    axes.set_ylabel(loss_label)
    add_legend(figure, handles)
    return figure


def _limit(axes: Axes, top: float) -> None:
    """Begin at 0, with room for the last mark; what is above `top` is cut off."""
    axes.set_xlim(0, 1.03 * axes.dataLim.x1)
    low = axes.dataLim.y0
    margin = 0.05 * (top - low) or 0.05
    axes.set_ylim(low - margin, top + margin)


def gradient_norms(curves: pd.DataFrame) -> Figure:
    """The mean norm of the gradient before clipping, against tokens; on a log axis."""
    figure, axes = new_figure()
    scale, count = unit_of_axis(curves["tokens_seen"].max(), "tokens_seen")
    handles = []
    for points, label, style in _trials(curves, "val_loss_nats"):
        norms = points[points["grad_norm"] > 0]
        by_epoch = points["by_epoch"].iloc[0]
        own = style if by_epoch else {"linewidth": 1.2} | style | {"marker": ""}
        axes.plot(norms["tokens_seen"] / scale, norms["grad_norm"], **own)
        if label is not None:
            handles.append(Line2D([], [], label=label, **own))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(log_locator(axes.dataLim.y0, axes.dataLim.y1))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, 1.03 * axes.dataLim.x1)
    axes.set_xlabel(label_against("tokens_seen", count))
    axes.set_ylabel("gradient norm (log scale)")
    add_legend(figure, handles[::-1] + _rest_handle(curves, "val_loss_nats"))
    return figure


def _trials(
    curves: pd.DataFrame, loss: str
) -> Iterator[tuple[pd.DataFrame, str | None, dict[str, Any]]]:
    """Each trial's points, its label if the legend is to name it, and its style: first those that
    are not named, last the best, above the others."""
    by_trial = dict(iter(curves.groupby("trial_id", sort=False)))
    named = _named(curves, loss)
    faint = {"color": REST, "linewidth": 0.8, "alpha": max(0.15, min(0.7, 25 / len(by_trial)))}
    for trial_id, points in by_trial.items():
        if trial_id not in named:
            yield points, None, faint
    for number, (trial_id, role) in reversed(list(enumerate(named.items()))):
        label = str(by_trial[trial_id]["trial"].iloc[0]) + (f" ({role})" if role else "")
        style = line_style(PALETTE[number], MARKERS[number]) | {"markersize": 5}
        yield by_trial[trial_id], label, style | {"zorder": 3 + len(named) - number}


def _named(curves: pd.DataFrame, loss: str) -> dict[str, str]:
    """Ids of the trials that are named, with their part among many."""
    order = list(curves["trial_id"].unique())
    if len(order) <= MANY:
        return dict.fromkeys(order, "")
    final = curves.dropna(subset=[loss]).groupby("trial_id", sort=False)[loss].last()
    ranked = final.sort_values(kind="stable").index.tolist()
    of = curves.drop_duplicates("trial_id").set_index("trial_id")["configuration"]
    # Of each configuration its best seed: three seeds of one say less than three.
    firsts = list({of[t]: t for t in reversed(ranked)}.values())[::-1]
    firsts = sorted(firsts, key=ranked.index)
    chosen: dict[str, str] = {}
    for number, (role, place) in enumerate(ROLES):
        at = number if place == 0.0 else round(place * (len(firsts) - 1))
        if at < len(firsts):
            chosen.setdefault(firsts[at], role)
    return chosen


def _rest_handle(curves: pd.DataFrame, loss: str) -> list[Line2D]:
    rest = _rest(curves, loss)
    return [Line2D([], [], label=rest, color=REST, linewidth=0.8)] if rest else []


def _rest(curves: pd.DataFrame, loss: str) -> str | None:
    others = curves["trial_id"].nunique() - len(_named(curves, loss))
    return counted(others, "other trial") if others else None


def step_figures(curves: pd.DataFrame, unit: str = NATS) -> list[ReportFigure]:
    """Loss against tokens (in bits per byte: against bytes) and against seconds, and the norms of
    gradients."""
    in_bits = unit == BITS
    column, by = ("bytes_seen", "bytes") if in_bits else ("tokens_seen", "tokens")
    name = "bits" if in_bits else "loss"
    noun = "Bits per byte" if in_bits else "Loss"
    ends = _ends(curves, unit)
    words = (
        f"Lower is better. {ends} Training loss (thin) is a mean over the steps since the point "
        "before, with dropout; its first points lie above the frame where it falls fastest. "
    )
    if curves["few_windows"].eq(True).any():  # a short run has none
        words += (
            "Between epochs' ends validation is of a few windows, the same at each point, shifted "
            "by what they are off at the end. "
        )
    words += "A validation line that turns up while training falls is overfitting."
    if _rest(curves, LOSSES[unit][1]):
        words += " Grey are the validation losses of the other trials."
    if curves["by_epoch"].any():
        words += " Trials without a curve of their steps have a mark an epoch."
    count = counted(curves["trial_id"].nunique(), "trial")
    drawn = [
        (column, f"{name}_by_{by}", "training text" if in_bits else "training tokens", words),
        (
            "wall_seconds",
            f"{name}_by_seconds",
            "time",
            "The same against the clock; between epochs' ends as if each step took as long. "
            f"{ends} A line that is lower at the same time learns more a second; seconds depend "
            "on what else the machine did.",
        ),
    ]
    figures = [
        ReportFigure(
            name=file,
            title=f"{noun} against {title}",
            alt=f"Lines of training and validation loss against {title} for {count}. {ends}",
            caption=caption,
            drawing=draw(loss_curves(curves, against, unit)),
        )
        for against, file, title, caption in drawn
    ]
    return figures if in_bits else [*figures, gradient_figure(curves)]


def gradient_figure(curves: pd.DataFrame) -> ReportFigure:
    """The gradient's norm, and in its caption the largest of all steps."""
    count = counted(curves["trial_id"].nunique(), "trial")
    largest = curves[["grad_norm", "grad_norm_max"]].max().max()
    return ReportFigure(
        name="gradient_norm",
        title="Gradient norm",
        alt=f"Lines of the gradient's norm against training tokens for {count}.",
        caption="Mean norm of the gradient before clipping, over the steps since the point before. "
        f"The largest of a single step is {largest:.3g}. A norm that rises or jumps late in a run "
        "is a rate near the edge of what trains.",
        drawing=draw(gradient_norms(curves)),
    )


def _ends(curves: pd.DataFrame, unit: str) -> str:
    column = LOSSES[unit][1]
    last = curves.dropna(subset=[column]).groupby("trial_id")[column].last().tolist()
    low, high = min(last), max(last)
    if len(last) == 1:
        return f"Validation loss ends at {low:.3f} {unit}."
    return f"Validation loss ends between {low:.3f} and {high:.3f} {unit}."
