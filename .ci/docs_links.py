"""A hook of mkdocs: a link to a file of the repository that is no page of the site is its text.

On a code host such a link is followed; to `mkdocs build --strict` it would be a broken one.
https://www.mkdocs.org/user-guide/configuration/#hooks
"""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text without the links that lead out of the folder of all pages."""
    return without_outer_links(markdown, page.file.src_uri)


def without_outer_links(markdown: str, page: str) -> str:
    """`markdown` of the page at this path below the folder, whose links out of it are text."""
    out = r"\.\./" * (page.count("/") + 1)
    return re.sub(rf"\[([^\]]+)\]\({out}[^)]+\)", r"\1", markdown)
