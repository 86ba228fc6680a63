"""HTML to text, by the libraries made for it."""

from __future__ import annotations

import re

_BLOCK_TAG = re.compile(
    r"<(?=/?(?:p|div|li|ul|ol|h[1-6]|tr|table|dd|dt|dl|pre|br)\b)", re.IGNORECASE
)
_MARKS = "<&\r\0"
"""A fragment without any of these characters is its own text."""


_FRAME = re.compile(
    r"<(?:html|head|body|main|article|section|div|table|nav|header|footer|aside)\b", re.IGNORECASE
)
"""What a page has that was made as one. Without any, there is nothing around the text."""


def page_to_text(page: bytes | str) -> str:
    """The main text of a web page, without navigation, comments and advertisements; all of its text
    where no main text is found, or where it has no parts that could be something else.

    Extracted by trafilatura (Barbaresi 2021, doi:10.18653/v1/2021.acl-demo.15).
    """
    import trafilatura  # takes half a second, only needed for pages

    decoded = trafilatura.utils.decode_file(page)
    if not _FRAME.search(decoded):
        return fragment_to_text(decoded)
    text = trafilatura.extract(decoded, include_comments=False, include_tables=False)
    return text or fragment_to_text(decoded)


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
