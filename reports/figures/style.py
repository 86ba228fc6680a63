"""What all figures share: canvas, colours, markers, legend, axes.

Drawn on Figure objects (no pyplot, no global state), so that they need no display. Colours are
Okabe and Ito's, told apart by colour-blind readers; its yellow, faint on white, is left out for
grey. Every trial has a marker of its own, not only a colour.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from minigpt_search.search.space.axes import Axis, Value
from minigpt_search.search.space.axis_words import axis_heading, axis_text

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
CHARACTER_INCHES = 0.097
"""Width of most characters of that size, with a little room."""
LINE_INCHES = 0.2
"""Height of a line of that size."""
LONGEST_LABEL = 50
"""Characters of a line in a legend."""
LABELS_INCHES = 5.0
"""From a figure's first value to its last."""
LOSS_LABEL = "loss (nats per token)"


def new_figure(width_inches: float = 6.5, height_inches: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT_POINTS)
    axes.xaxis.label.set_fontsize(TEXT_POINTS + 1)
    axes.yaxis.label.set_fontsize(TEXT_POINTS + 1)
    axes.ticklabel_format(useOffset=False)  # losses that differ by little are still read off whole
    return figure, axes


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Below the axes, where it can't cover data, on a strip that it adds to the height."""
    labels = [textwrap.wrap(str(handle.get_label()), LONGEST_LABEL) for handle in handles]
    for handle, lines in zip(handles, labels, strict=True):
        handle.set_label("\n".join(lines))
    longest = max(len(line) for lines in labels for line in lines)
    width = 0.62 + CHARACTER_INCHES * longest  # with the mark before it and the space behind
    columns = max(1, min(len(handles), int(6.4 / width)))
    rows = math.ceil(len(handles) / columns) + sum(len(lines) - 1 for lines in labels)
    figure.set_figheight(figure.get_figheight() + 0.27 * rows)
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=TEXT_POINTS,
    )


def line_style(colour: str, marker: str) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "markersize": 7}


def value_axis(axes: Axes, axis: Axis, values: Sequence[Value]) -> None:
    if axis.categorical:
        axes.set_xlabel(axis.label)
        axes.margins(x=0.25)
        return
    log = axis.log and min(values) > 0  # no weight decay at all is a value too
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    write: Callable[[float], str] = "{:g}".format
    # A sampler's values have more digits than anyone reads at a tick.
    most = 7
    if axis.of_ladder:
        write, most = functools.partial(axis_text, axis), 11
    each = len(values) <= MANY and all(len(write(value)) <= most for value in values)
    if each:
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
        axes.xaxis.set_minor_locator(NullLocator())
    elif log:
        axes.xaxis.set_major_locator(log_locator(values[0], values[-1]))
    crowded = _crowded(values, write, math.log if log else float) if each else set()
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "" if value in crowded else write(value))
    )
    axes.set_xlabel(axis_heading(axis, *(["log scale"] if log else [])))


def log_locator(low: float, high: float) -> LogLocator:
    """Ticks of a logarithmic axis: denser where it is shorter than a decade."""
    return LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 6, 8))


def _crowded(
    values: Sequence[float], write: Callable[[float], str], scale: Callable[[float], float]
) -> set[float]:
    """Those of the ascending `values` whose labels would run into the one before."""
    left, found = -math.inf, set()
    span = scale(values[-1]) - scale(values[0]) or 1.0
    for value in values:
        centre = LABELS_INCHES * (scale(value) - scale(values[0])) / span
        half = CHARACTER_INCHES * len(write(value)) / 2
        if centre - half < left:
            found.add(value)
        else:
            left = centre + half
    return found
