"""An axis as its readers see it, in figures and on the page: in labels of trials, which can be
pasted, its values are as `Axis.show` writes them."""

from __future__ import annotations

from minigpt_search.search.space.axes import Axis, Value


def axis_heading(axis: Axis, *notes: str) -> str:
    """`Context length (tokens)`, with what else there is to note; a label that begins with its unit
    has no need of it: `tokens an epoch`."""
    unit = [axis.unit] if axis.unit and not axis.label.startswith(axis.unit) else []
    parts = [*unit, *notes]
    return axis.label + (f" ({', '.join(parts)})" if parts else "")


def axis_text(axis: Axis, value: Value) -> str:
    """A value; a ladder's numbers of tokens as all such numbers: `71,680`."""
    return f"{value:,.0f}" if axis.of_ladder else axis.show(value)
