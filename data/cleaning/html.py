"""HTML to text, by the libraries made for it."""

from __future__ import annotations

import re

_BLOCK_TAG = re.compile(
    r"<(?=/?(?:p|div|li|ul|ol|h[1-6]|tr|table|dd|dt|dl|pre|br)\b)", re.IGNORECASE
)
_MARKS = "<&\r\0"
"""A fragment without any of these characters is its own text."""


def page_to_text(page: bytes | str) -> str:
    """The main text of a web page, without navigation, comments and advertisements.

    Extracted by trafilatura (Barbaresi 2021, doi:10.18653/v1/2021.acl-demo.15).
    """
    import trafilatura  # takes half a second, only needed for pages

    text = trafilatura.extract(page, include_comments=False, include_tables=False)
    return text or ""


def fragment_to_text(fragment: str) -> str:
    """The text of a piece of HTML without a page around it, a line for each block element.

    Parsed by selectolax (lexbor).
    """
    if not any(mark in fragment for mark in _MARKS):
        return fragment.strip()
    from selectolax.lexbor import LexborHTMLParser  # only needed where there is HTML

    tree = LexborHTMLParser(_BLOCK_TAG.sub("\n<", fragment))
    tree.strip_tags(["script", "style"])
    return tree.text(separator="").strip()
