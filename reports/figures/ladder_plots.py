"""The figures of a ladder: the valleys of its rungs with the ridge that leads to the target, and
the lowest losses with the power law through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from minigpt_search.reports.figures.counting_lines import COLOUR
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import (
    LOSS_LABEL,
    MARKERS,
    PALETTE,
    TEXT_POINTS,
    add_legend,
    line_style,
    log_locator,
    new_figure,
)
from minigpt_search.search.answer.ladder_answer import TABLES, table_scores
from minigpt_search.search.answer.ladder_outcome import outcomes
from minigpt_search.search.ladder.prediction import Prediction, Step
from minigpt_search.search.ladder.ridge import OWN, SKEW, Ridge
from minigpt_search.search.results.baselines import NAMES
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.ladder_spec import LATTICE, lattice_rate, rate_range

TARGET, FAN = "#000000", "#CCCCCC"
OUTCOME: dict[str, Any] = {
    "color": TARGET,
    "marker": "X",
    "markersize": 8,
    "linestyle": "",
    "zorder": 3,
}
MARGIN_NATS = 0.15
"""Shown above the highest lowest loss and below what is expected of the target; losses of rates far
off would squeeze the valleys."""


def ladder_figures(results: Results) -> list[ReportFigure]:
    """Both, for the target's width or the nearest of the rungs'; none before there is a
    prediction."""
    found = results.ladder_prediction
    if found is None:
        return []
    cells = np.exp(found.cells)
    widths = sorted({round(width) for width in cells[:, 1]})
    width = min(widths, key=lambda each: abs(math.log(each / found.rate.width)))
    of_width = f" of width {width}" if len(widths) > 1 else ""
    fan = results.ladder_fan
    rate, loss = found.rate, found.loss
    given = "" if not found.refused else f" No point is given: {found.refused}."
    interval = rate_range(rate.low, rate.high)
    best = f"the best rate at the target, {rate.rate:.2g} ({interval})"
    if found.refused:
        best = f"the 95% interval of the best rate at the target, {interval}, without a point"
    valleys = _valleys(results, found, width, fan)
    return [
        ReportFigure(
            name="ladder_valleys",
            title="Valleys of the rungs and the ridge to the target",
            alt=f"Validation loss against learning rate{of_width}, a valley for each rung, and "
            f"{best}",
            caption=f"Each rung{of_width} has its valley; the dashed line joins their lowest "
            "points. The dotted one is the best rate as it is predicted from the largest rung's "
            "length to the target's, the grey fan its 95% interval. It need not begin at that "
            "rung's own lowest point: what a length has of its own is no part of the drift."
            f"{_above(valleys.axes[0])}{given}",
            drawing=draw(valleys),
        ),
        ReportFigure(
            name="ladder_frontier",
            title="Lowest losses of the rungs and what is expected beyond",
            alt=f"Lowest validation loss against training tokens{of_width}, {loss.loss:.2f} nats "
            f"expected at the target ({loss.low:.2f} to {loss.high:.2f})",
            caption="Points are the lowest points of the rungs' valleys with their 95% intervals, "
            "the line is a power law through them, the grey fan is the 95% interval of one run. "
            "Dotted is what counting scores on the same text, with straight lines between the "
            "sizes that were counted.",
            drawing=draw(_frontier(results, found, width, fan)),
        ),
    ]


def _valleys(results: Results, found: Prediction, width: int, fan: tuple[Step, ...]) -> Figure:
    figure, axes = new_figure(height_inches=4.6)
    ridge, p = found.rate.fit.problem, found.rate.fit.parameters
    assert isinstance(ridge, Ridge)
    handles: list[Artist] = []
    tops, lows = [], []
    rows = [r for r, cell in enumerate(np.exp(found.cells)) if round(cell[1]) == width]
    for number, row in enumerate(rows):
        mine = ridge.losses.own == row
        x, y = ridge.losses.x[mine], ridge.losses.loss[mine]
        style = line_style(PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)])
        tokens = math.exp(found.cells[row, 0])
        axes.plot(np.exp(x), y, linestyle="", label=f"{tokens:,.0f} tokens", **style)
        across = np.linspace(x.min() - 0.35, x.max() + 0.35, 200)
        steep = float(ridge.steepness(p, ridge.z[row, 0]))
        rise = ridge.valley(across - found.rate.ridge[row], p[SKEW])[0]
        curve = p[OWN + ridge.count + row] + steep * rise
        axes.plot(np.exp(across), curve, color=style["color"], linewidth=1.5)
        handles.append(Line2D([], [], label=f"{tokens:,.0f} tokens", linestyle="", **style))
        tops.append(found.rate.floors[row])
        lows.append(y.min())
    best = np.exp(found.rate.ridge[rows])
    low_edge = _within_lattice([step.rate.low for step in fan])
    high_edge = _within_lattice([step.rate.high for step in fan])
    losses = np.array([step.loss.loss for step in fan])
    axes.fill_betweenx(losses, low_edge, high_edge, color=FAN, alpha=0.6, linewidth=0)
    middle = _within_lattice([step.rate.rate for step in fan])
    axes.plot(best, tops, color=TARGET, linestyle="--", linewidth=1.2)
    axes.plot(middle, losses, color=TARGET, linestyle=":", linewidth=1.6)
    _target(axes, found)
    trained = _trained(results, found)
    axes.plot(list(trained), list(trained.values()), label="the target", **OUTCOME)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(log_locator(*axes.get_xlim()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("learning rate (log scale)")
    axes.set_ylabel(f"validation {LOSS_LABEL}")
    lowest = min([*losses, *tops, *lows, *trained.values()])
    height = max(tops) - lowest
    axes.set_ylim(lowest - 0.1 * height - MARGIN_NATS / 3, max(tops) + height / 3 + MARGIN_NATS)
    add_legend(figure, [*handles, *_fan_handles(found, bool(trained), "|")])
    return figure


def _above(axes: Axes) -> str:
    """How many of the trials' points lie above the frame, with what they are of; empty where none
    does."""
    top = axes.get_ylim()[1]
    said = []
    for line in axes.lines:
        if (of := str(line.get_label())).startswith("_"):
            continue
        losses = np.asarray(line.get_ydata(), dtype=float)
        if high := int((losses > top).sum()):
            said.append(f"{high} of the {len(losses)} of {of}")
    return f" Points above the frame: {', '.join(said)}." if said else ""


def _trained(results: Results, found: Prediction) -> dict[float, float]:
    """What runs at the target came to, in nats by learning rate; {} before there are any."""
    mine = (each for each in outcomes(results) if each.prediction.tokens == found.rate.tokens)
    return next((each.losses for each in mine), {})


def _target(axes: Axes, found: Prediction) -> None:
    """The best rate at the target and its interval, at the loss expected there."""
    low, middle, high = _within_lattice([found.rate.low, found.rate.rate, found.rate.high])
    sides = [[middle - low], [high - middle]]
    axes.errorbar(
        [middle],
        [found.loss.loss],
        xerr=sides,
        color=TARGET,
        marker=_mark(found, "|"),
        markersize=14,
        capsize=4,
        linewidth=1.8,
    )


def _within_lattice(rates: Sequence[float]) -> np.ndarray:
    """Rates moved to the nearest that is ever tried: an end beyond bounds nothing."""
    return np.clip(rates, lattice_rate(LATTICE[0]), lattice_rate(LATTICE[-1]))


def _mark(found: Prediction, across: str) -> str:
    """Of the target: a star where there is a point, else a stroke `across` its interval."""
    return across if found.refused else "*"


def _fan_handles(found: Prediction, trained: bool, across: str) -> list[Artist]:
    label = f"target, {found.rate.tokens:,.0f} tokens, predicted"
    mark = Line2D(
        [], [], label=label, color=TARGET, marker=_mark(found, across), markersize=12, linestyle=""
    )
    handles: list[Artist] = [mark, Patch(color=FAN, label="95% interval on the way there")]
    return [*handles, *([Line2D([], [], label="what it came to", **OUTCOME)] if trained else [])]


def _frontier(results: Results, found: Prediction, width: int, fan: tuple[Step, ...]) -> Figure:
    figure, axes = new_figure(height_inches=4.4)
    rows = [r for r, cell in enumerate(np.exp(found.cells)) if round(cell[1]) == width]
    tokens = np.exp(found.cells[rows, 0])
    sds = np.sqrt(np.diag(found.rate.floors_covariance))[rows]
    at = np.geomspace(tokens[0], found.rate.tokens, 200)
    axes.plot(at, found.loss.at(at, width), color=PALETTE[0], linewidth=1.5)
    style = line_style(PALETTE[0], MARKERS[0])
    lowest = found.rate.floors[rows]
    sides = np.clip(lowest, 0, 1.96 * sds), 1.96 * sds  # no loss is negative
    axes.errorbar(tokens, lowest, yerr=sides, linestyle="", capsize=3, **style)
    ahead = [step.rate.tokens for step in fan]
    low, high = [step.loss.low for step in fan], [step.loss.high for step in fan]
    axes.fill_between(ahead, low, high, color=FAN, alpha=0.6, linewidth=0)
    loss = found.loss
    axes.errorbar(
        [found.rate.tokens],
        [loss.loss],
        yerr=[[loss.loss - loss.low], [loss.high - loss.loss]],
        color=TARGET,
        marker=_mark(found, "_"),
        markersize=14,
        capsize=4,
        linewidth=1.8,
    )
    trained = list(_trained(results, found).values())
    axes.plot([found.rate.tokens] * len(trained), trained, **OUTCOME)
    axes.set_xscale("log")
    bottom, top = axes.get_ylim()
    _tables(axes, results, found, (bottom, top))
    axes.set_ylim(bottom, top)
    axes.set_xlabel("training tokens, repeats counted (log scale)")
    axes.set_ylabel(f"validation {LOSS_LABEL}")
    rungs = Line2D([], [], label="lowest losses of the rungs", linestyle="", **style)
    add_legend(figure, [rungs, *_fan_handles(found, bool(trained), "_")])
    return figure


def _tables(axes: Axes, results: Results, found: Prediction, shown: tuple[float, float]) -> None:
    """A dotted line for each table of counts that has a part between the losses `shown`."""
    epochs = results.experiment.space.base.train.epochs
    for name in TABLES:
        known = table_scores(results, name)
        x = [counted * epochs for counted in known]
        y = list(known.values())
        if not any(shown[0] <= loss <= shown[1] for loss in y):
            continue
        axes.plot(x, y, color=COLOUR, linestyle=(0, (1, 1.5)), linewidth=1.5, zorder=1)
        # In the middle of the last stretch, away from the line of the losses.
        at, score = float(np.exp(np.log(x[-2:]).mean())), float(np.mean(y[-2:]))
        is_above = score > float(found.loss.at(np.array([at]), found.rate.width)[0])
        axes.annotate(
            NAMES[name],
            (at, score),
            xytext=(0, 8 if is_above else -8),
            textcoords="offset points",
            ha="left" if is_above else "right",
            va="bottom" if is_above else "top",
            color=COLOUR,
            fontsize=TEXT_POINTS - 2,
        )
