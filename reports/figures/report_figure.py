"""A drawn figure with what a reader needs beside it."""

from __future__ import annotations

import io
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image

DOTS_PER_INCH = 160
MOST_BYTES = 290_000
"""Of a figure's file: the page stays light."""


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A drawn figure and its words."""

    name: str
    """Its file is figures/NAME.png."""
    title: str
    alt: str
    """What it shows, for those who can't see it."""
    caption: str
    """What to see in it."""
    png: bytes


def png_of(figure: Figure) -> bytes:
    """The figure's file. Without the version of matplotlib in it, the same ledger gives the same
    bytes. One that is too large (hundreds of crossing lines) is reduced to 64 colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    if buffer.tell() <= MOST_BYTES:
        return buffer.getvalue()
    image = Image.open(buffer).convert("RGB")
    reduced = io.BytesIO()
    image.quantize(64, dither=Image.Dither.NONE).save(reduced, format="png", optimize=True)
    return reduced.getvalue()
