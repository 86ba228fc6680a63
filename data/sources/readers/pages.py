"""Web pages as characters: what the page says of its encoding counts, as in a browser."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import IO

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.encodings import decoded
from minigpt_search.data.sources.readers.reading import NotText, Reading

_DECLARED = re.compile(
    rb"""<(?:meta\s[^>]*charset|\?xml\s[^>]*encoding)=\s*["']?([\w.:-]+)""", re.IGNORECASE
)
_DECLARED_WITHIN = 4096
"""The standard has browsers look at 1,024 bytes; pages keep it less well."""


def read_page(stream: IO[bytes], where: str, name: str, reading: Reading) -> Iterator[str | bytes]:
    """Yield a page: as text where its encoding is sure, else as it is, with a note.

    Raises:
        NotText: a binary file.
    """
    page = stream.read()
    if not page:
        return
    declared = _DECLARED.search(page, 0, _DECLARED_WITHIN)
    try:
        yield page.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _decoded_as(page, declared[1].decode()) if declared else None
        if text is None:
            try:
                text = "".join(decoded(io.BytesIO(page), where, name, reading))
            except NotText:
                raise
            except UserError:
                reading.tell("of no sure encoding, which is guessed", name)
        yield page if text is None else text


def _decoded_as(page: bytes, encoding: str) -> str | None:
    """The page in an encoding that it names itself; None if it is in another."""
    try:
        name = codecs.lookup(encoding).name
        if name.startswith("utf"):  # which it is not, as was tried
            return None
        # latin-1 means cp1252 on the web (WHATWG Encoding)
        return page.decode("cp1252" if name in ("iso8859-1", "ascii") else name)
    except (LookupError, UnicodeError):
        return None
