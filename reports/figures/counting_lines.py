"""Lines across a figure of losses at what counting scores on the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matplotlib.axes import Axes

from minigpt_search.model.config import RunConfig
from minigpt_search.reports.figures.style import LONGEST_LABEL, TEXT_POINTS
from minigpt_search.search.records.ledger_records import BaselineRecord
from minigpt_search.search.results.baselines import NAMES, baseline_of

COLOUR = "#555555"
LEAST_NATS = 0.3
"""Losses that differ by less leave room for lines this far away."""
NAME_HEIGHT, EDGE = 0.08, 0.03
"""Of a line's name with the room around it, and of the room at either end, as shares of the plot's
height."""


def common_baseline(
    baselines: tuple[BaselineRecord, ...], configs: Iterable[RunConfig]
) -> BaselineRecord | None:
    """The record for the text that all of these trials see; None where they see different ones or
    it is not known."""
    found = [baseline_of(baselines, config) for config in configs]
    first = found[0] if found else None
    return first if all(each is first for each in found) else None


def add_counting_lines(axes: Axes, record: BaselineRecord | None) -> str:
    """Draw those that lie no further from the plot's ends than it is high, each with its name on
    it, and move the ends until all of that lies inside; the others would squeeze the losses.
    Returns a sentence for the caption, which has those that are not drawn too; an empty one
    without a record."""
    if record is None:
        return ""
    low, high = axes.get_ylim()
    room = max(high - low, LEAST_NATS)
    known = {words: record.losses[name] for name, words in NAMES.items()}
    drawn = {words: loss for words, loss in known.items() if low - room <= loss <= high + room}
    beyond = [f"{words} at {loss:.2f}" for words, loss in known.items() if words not in drawn]
    if drawn:
        _draw(axes, drawn)
    lines = "Dotted is what counting scores on the same text. " if drawn else ""
    return lines + (f"Outside of the figure: {', '.join(beyond)} nats." if beyond else "")


def _draw(axes: Axes, drawn: Mapping[str, float]) -> None:
    """Draw these lines, one at least, with their names, inside the plot."""
    low, high = axes.get_ylim()
    bottom, top = min(drawn.values()), max(drawn.values())
    height = max(high, top) - min(low, bottom)
    names = _names(drawn, NAME_HEIGHT * height)
    ends = (loss + NAME_HEIGHT * height * (1 + text.count("\n")) for text, loss in names)
    axes.set_ylim(min(low, bottom) - EDGE * height, max(high + EDGE * height, *ends))
    for loss in drawn.values():
        axes.axhline(loss, color=COLOUR, linestyle=(0, (1, 1.5)), linewidth=1.5, zorder=1)
    for text, loss in names:
        axes.annotate(
            text,
            (1, loss),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=COLOUR,
            fontsize=TEXT_POINTS - 2,
            clip_on=True,
        )


def _names(drawn: Mapping[str, float], height: float) -> list[tuple[str, float]]:
    """The text on each line, and where it stands: lines less than a text's `height` below another
    have theirs with it."""
    found: list[tuple[str, float]] = []
    for words, loss in sorted(drawn.items(), key=lambda each: -each[1]):
        text = f"{words} {loss:.2f}"
        if found and found[-1][1] - loss < height:
            above, loss = found.pop()
            last = above.rpartition("\n")[2]
            space = " " if len(last) + len(text) < LONGEST_LABEL else "\n"
            text = f"{above},{space}{text}"
        found.append((text, loss))
    return found
