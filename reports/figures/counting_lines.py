"""Lines across a figure of losses at what counting scores on the same text."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes

from minigpt_search.model.config import RunConfig
from minigpt_search.reports.figures.style import TEXT_POINTS
from minigpt_search.search.records.ledger import BaselineRecord
from minigpt_search.search.results.baselines import NAMES, baseline_of

COLOUR = "#555555"
LEAST_NATS = 0.3
"""Losses that differ by less leave room for lines this far away."""


def common_baseline(
    baselines: tuple[BaselineRecord, ...], configs: Iterable[RunConfig]
) -> BaselineRecord | None:
    """The record for the text that all of these trials see; None where they see different ones or
    it is not known."""
    found = [baseline_of(baselines, config) for config in configs]
    first = found[0] if found else None
    return first if all(each is first for each in found) else None


def add_counting_lines(axes: Axes, record: BaselineRecord | None) -> str:
    """Draw those that lie no further from the losses drawn than these lie apart, each with its name
    on it; the others would squeeze the losses. Returns a sentence for the caption, which has those
    that are not drawn too; an empty one without a record."""
    if record is None:
        return ""
    low, high = axes.dataLim.y0, axes.dataLim.y1
    room = max(high - low, LEAST_NATS)
    known = {words: record.losses[name] for name, words in NAMES.items()}
    drawn = {words: loss for words, loss in known.items() if low - room <= loss <= high + room}
    for words, loss in drawn.items():
        axes.axhline(loss, color=COLOUR, linestyle=(0, (1, 1.5)), linewidth=1.5, zorder=1)
        axes.annotate(
            f"{words} {loss:.2f}",
            (1, loss),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=COLOUR,
            fontsize=TEXT_POINTS - 2,
        )
    lines = "Dotted is what counting scores on the same text. " if drawn else ""
    beyond = [f"{words} at {loss:.2f}" for words, loss in known.items() if words not in drawn]
    return lines + (f"Outside of the figure: {', '.join(beyond)} nats." if beyond else "")
