"""Marks that figures of losses share: intervals over seeds, and where trials diverged."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from minigpt_search.reports.figures.style import PALETTE
from minigpt_search.search.results.statistics import estimate


def seeds_intervals(axes: Axes, trials: pd.DataFrame, name: str, colour: str) -> list[Line2D]:
    """Draw the 95% t-interval of the mean loss over the seeds of each value of axis `name`.

    Of two seeds it is 13 times as wide as their spread: the losses keep the plot's height, and a
    bar may leave it. Returns the legend's entry; none where no value has two seeds.
    """
    known = {value: estimate(list(losses)) for value, losses in _by_value(trials, name)}
    bars = [
        (value, each.low, each.high)
        for value, each in known.items()
        if each.low is not None and each.high is not None
    ]
    if not bars:
        return []
    height = axes.get_ylim()
    for value, low, high in bars:
        axes.plot([value, value], [low, high], color=colour, alpha=0.3, linewidth=7, zorder=1.5)
    axes.set_ylim(height)
    return [Line2D([], [], label="95% interval of the mean", color=colour, alpha=0.35, linewidth=7)]


def _by_value(trials: pd.DataFrame, name: str) -> list[tuple[Any, pd.Series]]:
    return list(trials.groupby(name)["val_loss_nats"])


def diverged_marks(axes: Axes, values: pd.Series) -> list[Line2D]:
    """Draw a cross at the top of the plot at each of the `values`, where a trial diverged: it has
    no loss to be drawn at. Returns the legend's entry; none where there are no values."""
    if values.empty:
        return []
    style: dict[str, Any] = {"marker": "x", "markersize": 9, "color": PALETTE[1], "linestyle": ""}
    style["markeredgewidth"] = 2.2
    at_the_top = axes.get_xaxis_transform()
    unique = values.unique()
    axes.plot(unique, [0.97] * len(unique), transform=at_the_top, **style)
    return [Line2D([], [], label="diverged: no loss", **style)]
