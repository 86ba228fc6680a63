"""A drawn figure with what a reader needs beside it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from matplotlib.figure import Figure
from PIL import Image

from minigpt_search.reports.figures.svg import svg_of, with_ids_of

DOTS_PER_INCH = 160
MOST_BYTES = 290_000
"""Of a figure's file: the page stays light."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure as it is drawn, for both kinds of reader."""

    png: bytes
    """On white, for a code host and for slides: figures/NAME.png."""
    svg: str
    """An `<svg>` element whose colours are the page's variables: it follows dark mode."""


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
    drawing: Drawing = field(repr=False)

    @property
    def png(self) -> bytes:
        """The figure's file."""
        return self.drawing.png

    @property
    def svg(self) -> str:
        """The figure as an element of the page, under ids of its own."""
        return with_ids_of(self.drawing.svg, self.name)


def draw(figure: Figure) -> Drawing:
    """The figure as both, laid out once. The same ledger gives the same bytes."""
    png = png_of(figure)
    figure.set_layout_engine("none")  # where everything lies is known now
    return Drawing(png=png, svg=svg_of(figure))


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
