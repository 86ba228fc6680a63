"""The figures of finished trials: functions from a DataFrame with one row a trial to a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from minigpt_search.data.common.formatting import counted
from minigpt_search.reports.figures.counting_lines import add_counting_lines
from minigpt_search.reports.figures.marks import diverged_marks, seeds_intervals
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import (
    LOSS_LABEL,
    MANY,
    MARKERS,
    PALETTE,
    add_legend,
    line_style,
    new_figure,
    value_axis,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import BaselineRecord
from minigpt_search.search.results.best_rate import BestRate
from minigpt_search.search.results.labels import varies_one_axis
from minigpt_search.search.space.axes import AXES, TOKENS, Axis, Value
from minigpt_search.search.space.axis_words import axis_text


def lowest_configuration(
    trials: pd.DataFrame, names: Sequence[str], diverged: pd.DataFrame | None = None
) -> pd.Series:
    """The values of axes `names` with the lowest mean over their trials (seeds), with that mean as
    `val_loss_nats` and their number as `seeds`: as the winner is found, so none that diverged with
    a seed (a row of `diverged`) while there are others."""
    means = configuration_means(trials, names)
    if diverged is not None:
        out = set(diverged[list(names)].itertuples(index=False, name=None))
        found = means[list(names)].itertuples(index=False, name=None)
        steady = [values not in out for values in found]
        means = means[steady] if any(steady) else means
    return means.iloc[int(means["val_loss_nats"].argmin())]


def configuration_means(trials: pd.DataFrame, names: Sequence[str] | None = None) -> pd.DataFrame:
    """A row for each configuration of the axes `names` (all of them), with the means over its
    trials (seeds): `val_loss_nats`, `flop`; and their number, `seeds`."""
    by = list(names) if names else [name for name in trials.columns if name in AXES]
    groups = trials.groupby(by, sort=False, dropna=False)
    means = groups.agg(
        val_loss_nats=("val_loss_nats", "mean"),
        flop=("flop", "mean"),
        seeds=("val_loss_nats", "size"),
    )
    return means.reset_index()


def loss_against(
    trials: pd.DataFrame,
    axis: Axis,
    others: Sequence[str],
    optimum: BestRate | None = None,
    diverged: pd.DataFrame | None = None,
) -> Figure:
    """Final validation loss against an axis' values: a line for each configuration of the `others`,
    a point for each trial, a bar for the 95% interval of each mean over seeds, the lowest mean
    ringed; a fitted optimum is a line across with its interval as a band; a cross at the top for
    each value at which a trial diverged."""
    figure, axes = new_figure()
    diverged = trials.head(0) if diverged is None else diverged
    if axis.categorical:  # as words, which stand side by side
        trials = trials.assign(**{axis.name: trials[axis.name].map(axis.exact)})
        diverged = diverged.assign(**{axis.name: diverged[axis.name].map(axis.exact)})
    groups = list(trials.groupby(list(others), sort=True)) if others else [((), trials)]
    distinguished = len(groups) <= MANY
    if not distinguished:
        groups = [((), trials)]  # one style for all, drawn at once
    handles = []
    for number, (values, group) in enumerate(groups):
        colour, marker = (PALETTE[number], MARKERS[number]) if distinguished else (PALETTE[0], "o")
        style = line_style(colour, marker)
        alpha = 1.0 if distinguished else 0.45  # a crowd's density shows
        axes.plot(group[axis.name], group["val_loss_nats"], linestyle="", alpha=alpha, **style)
        if distinguished:
            if not axis.categorical:  # a line through the replicates' means
                means = group.groupby(axis.name)["val_loss_nats"].mean()
                axes.plot(means.index, means, color=colour, linewidth=1.5)
            label = ", ".join(f"{n}={AXES[n].show(v)}" for n, v in zip(others, values, strict=True))
            axes.lines[-1].set_label(label or "_")
            handles.append(Line2D([], [], label=label or "trials", **style))
    if len(groups) == 1 and distinguished:  # of several they would lie over each other
        handles += seeds_intervals(axes, trials, axis.name, PALETTE[0])
    best = lowest_configuration(trials, [axis.name, *others], diverged)
    ring: dict[str, Any] = {"marker": "o", "markersize": 15, "linestyle": ""}
    ring |= {"markerfacecolor": "none", "markeredgecolor": "#000000", "markeredgewidth": 1.8}
    axes.plot([best[axis.name]], [best["val_loss_nats"]], **ring)
    lowest = "lowest mean" if best["seeds"] > 1 else "lowest"
    handles.append(Line2D([], [], label=f"{lowest}: {best['val_loss_nats']:.3f} nats", **ring))
    handles += diverged_marks(axes, diverged[axis.name])
    value_axis(axes, axis, sorted({*trials[axis.name], *diverged[axis.name]}))
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


def around_base(
    trials: pd.DataFrame, experiment: Experiment, name: str
) -> tuple[pd.DataFrame, list[str]]:
    """The trials to plot against axis `name`, and the axes whose configurations are told apart: all
    trials of a product, but of a grid that varies one axis at a time those with the base's other
    configurations."""
    held = held_at(experiment, name)
    for other, value in held.items():
        trials = trials[trials[other] == value]
    return trials, [other for other in experiment.space.axes if other not in (name, *held)]


def held_at(experiment: Experiment, name: str) -> dict[str, Value]:
    """The values that the other axes have in all that `around_base` leaves: the base's where one
    axis is varied at a time, none of a product."""
    if not varies_one_axis(experiment):
        return {}
    base = experiment.space.base
    return {other: AXES[other].value(base) for other in experiment.space.axes if other != name}


def axis_figure(
    trials: pd.DataFrame,
    others: list[str],
    name: str,
    optimum: BestRate | None = None,
    diverged: pd.DataFrame | None = None,
    counting: BaselineRecord | None = None,
    held: Mapping[str, Value] | None = None,
) -> ReportFigure:
    """Loss against axis `name`, with a fitted `optimum` and what `counting` scores if there are
    any, and where `diverged` trials were. `held` are the values that other axes have in all of
    it: the search has trials with others."""
    axis = AXES[name]
    fixed = " ".join(f"{other}={AXES[other].exact(value)}" for other, value in (held or {}).items())
    at_fixed = f" with {fixed}" if fixed else ""
    best = lowest_configuration(trials, [name, *others], diverged)
    seeds = f" mean of {best['seeds']:.0f} seeds" if best["seeds"] > 1 else ""
    found = lowest = (
        f"The lowest{seeds}{at_fixed}, {best['val_loss_nats']:.3f} nats, is at "
        f"{axis_text(axis, best[name])}."
    )
    count = len(trials.groupby(others)) if others else 1
    replicated = len(trials) > len(trials.groupby([name, *others]))
    words = [found]
    if TOKENS not in (name, *others):  # a ladder's lengths are given, and it places its rates
        words[0] += " One at the edge of the plot asks for more values on that side."
    if count > MANY:
        words.append("Points also differ in the other axes.")
    elif replicated:
        words.append(
            "Points above each other are seeds of one configuration; lines join their means"
            + (", bars are the means' 95% intervals." if count == 1 else ".")
        )
    if diverged is not None and len(diverged):
        shown = list(map(axis.show, sorted(diverged[name].unique())))
        at = ", ".join(shown) if len(shown) <= MANY else f"values from {shown[0]} to {shown[-1]}"
        found += f" Diverged, without a loss: {counted(len(diverged), 'trial')}, at {at}."
        words[0] = f"{found}{words[0].removeprefix(lowest)}"
    figure = loss_against(trials, axis, others, optimum, diverged)
    if lines := add_counting_lines(figure.axes[0], counting):
        words.append(lines)
    return ReportFigure(
        name=f"loss_against_{name}",
        title=f"Validation loss against {axis.label}{at_fixed}",
        alt=f"Final validation loss of {counted(len(trials), 'trial')} against {axis.label}. "
        f"{found}",
        caption=" ".join([found, lines]).strip() if axis.categorical else " ".join(words),
        drawing=draw(figure),
    )
