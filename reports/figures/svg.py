"""A figure as an `<svg>` element of the page: its colours are CSS variables, its curves have names.

Text stays text, so that it is found and drawn in the page's colour. Hovering a line shows its label
(`<title>`); lines that matplotlib named itself (`_child0`) have none. Where hundreds of lines would
make the element heavy they are a picture in it, without a background and without names.

Sources: https://matplotlib.org/stable/users/explain/customizing.html (the settings `svg.*`),
https://www.w3.org/TR/SVG2/struct.html#TitleElement.
"""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure

MOST_CHARACTERS = 250_000
"""Of an element: what is beyond is drawn as a picture in it."""
PICTURE_DOTS_PER_INCH = 160
ORDINARY = 2
"""The zorder of a line unless it is told: what is above is pointed out, and keeps its name."""

# What style.py draws with, and the page's variable for it (templates/style.css). Colours that are
# not here are the same in dark mode: a heat map's, and the black and white of the numbers in it.
VARIABLES = {
    "#ffffff": "--page", "#000000": "--text", "#333333": "--text", "#e5e5e5": "--line",
    "#cccccc": "--line", "#808080": "--quiet", "#555555": "--quiet", "#b3b3b3": "--rest",
    "#0072b2": "--curve-1", "#d55e00": "--curve-2", "#009e73": "--curve-3", "#cc79a7": "--curve-4",
    "#e69f00": "--curve-5", "#56b4e9": "--curve-6", "#7f7f7f": "--curve-8",
}  # fmt: skip
_TAG = re.compile(r"<[^>]+>")  # in attributes and text alike matplotlib writes > as &gt;
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_PATH = re.compile(r'(?<= d=")[^"]+')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r" font-family: [^;\"]+;?")
_HEAD = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", re.DOTALL)
_NAMED = re.compile(r'<g id="named-(\d+)">')


def svg_of(figure: Figure) -> str:
    """The element; in a page with others it needs `with_ids_of`."""
    names = _name_lines(figure)
    svg = _saved(figure)
    if len(svg) > MOST_CHARACTERS:
        for axes in figure.axes:
            for artist in [*axes.lines, *axes.collections]:
                if artist.get_zorder() <= ORDINARY:
                    artist.set_rasterized(True)
        svg = _saved(figure)
    return _NAMED.sub(lambda m: f"{m[0]}<title>{escape(names[int(m[1])])}</title>", svg)


def with_ids_of(svg: str, name: str) -> str:
    """The element with ids that begin with `name`: two of a page would have the same."""
    return _TAG.sub(lambda tag: _ID.sub(rf"\1{name}-", tag[0]), svg)


def _name_lines(figure: Figure) -> list[str]:
    """Mark each line that has a label, and return the labels."""
    lines = [line for axes in figure.axes for line in axes.lines]
    named = [line for line in lines if not str(line.get_label()).startswith("_")]
    for number, line in enumerate(named):
        line.set_gid(f"named-{number}")
    return [str(line.get_label()) for line in named]


def _saved(figure: Figure) -> str:
    """What matplotlib writes, without its head, its background and digits that nobody sees."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(
            buffer,
            format="svg",
            dpi=PICTURE_DOTS_PER_INCH,
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = buffer.getvalue()
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view is not None
    body = _HEAD.sub("", svg[svg.index(">", view.end()) + 1 :])
    body = _TAG.sub(lambda tag: _slim(tag[0]), body)
    return re.sub(r"\n\s*", "\n", f"<svg {view[0]}>{body}")


def _slim(tag: str) -> str:
    """A tag in the page's font and colours, with hundredths of a point."""
    tag = _PATH.sub(lambda m: _LONG_NUMBER.sub(lambda n: f"{float(n[0]):.2f}", m[0]), tag)
    tag = _COLOUR.sub(lambda m: f"var({VARIABLES[m[0]]})" if m[0] in VARIABLES else m[0], tag)
    return _FONT.sub("", tag)
