"""Raw text of any form to text; of web pages and the like, with tidy white space and one form of
Unicode."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Container, Sequence
from functools import lru_cache

from minigpt_search.data.cleaning.html import fragment_to_text, page_to_text
from minigpt_search.data.cleaning.repairs import join_wikitext_2, mend_news
from minigpt_search.data.common.documents import Document, Form, RawDocument

_TO_TEXT: dict[Form, Callable[[str], str]] = {
    "plain": str,
    "wikitext_2": join_wikitext_2,
    "news": mend_news,
    "html_fragment": fragment_to_text,
}

_PLAIN = bytes([ord("\n"), *range(ord(" "), 0x7F)])
"""Printable ASCII and the line end."""
MARKS_AT_ONCE = 64
"""The most combining marks after a character that are put in order together: Unicode's stream-safe
format allows 30 (UAX 15)."""
_LINE_BREAKS = re.compile("\r\n?|\x0b|\x0c|\x1c|\x1d|\x1e|\x85|\u2028|\u2029")
_ODD_SPACES = re.compile(r"[^\S\n ]")
_SPACES = re.compile(r"  +")
_BLANK_LINES = re.compile(r"\n{3,}")
# Control and format characters and private use (Cc, Cf, Co) carry no text; U+FFFD is what was lost
# before the text came here. Zero-width (non-)joiners shape words in some scripts and stay.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffd\ue000-\uf8ff]"
)


def clean(batch: Sequence[RawDocument], *, web: Container[int]) -> tuple[list[Document], float]:
    """Clean a batch; plain text of sources that are not in `web` stays as it is.

    Returns the documents, of which some may be empty now, and the seconds of processor time that it
    took.
    """
    started = time.process_time()
    documents = [
        Document(raw.source, clean_text(raw, raw.source in web), raw.number) for raw in batch
    ]
    return documents, time.process_time() - started


def clean_text(raw: RawDocument, is_web: bool = True) -> str:
    """Convert the text of one document from its form, and normalise it, but for plain text that is
    not to be tidied."""
    if raw.form == "plain" and not is_web:
        assert isinstance(raw.text, str)
        return raw.text
    if raw.form == "html_page":
        return normalise(page_to_text(raw.text))
    assert isinstance(raw.text, str)  # only pages come as bytes: they name their encoding
    if raw.form == "wikitext":
        from minigpt_search.data.cleaning.wikitext import (
            wikitext_to_text,  # imports its parser, only needed here
        )

        return normalise(wikitext_to_text(raw.text))
    # Repairs come before normalising, which takes away the U+FFFD marks that they need.
    return normalise(_TO_TEXT[raw.form](raw.text))


def _to_nfc(text: str) -> str:
    """The text in Unicode NFC, in linear time: `unicodedata.normalize` puts the combining marks
    after a character in order in a time that grows with their square (Python 3.11)."""
    if unicodedata.is_normalized("NFC", text):
        return text
    parts = _marks_in_a_row().split(text)  # every second one is a run of marks
    return "".join(unicodedata.normalize("NFC", part) for part in parts)


@lru_cache(maxsize=1)
def _marks_in_a_row() -> re.Pattern[str]:
    """Matches the first marks of a run that is longer than any in writing."""
    marks = [chr(code) for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code))]
    return re.compile(f"([{''.join(marks)}]{{{MARKS_AT_ONCE}}})")


def normalise(text: str) -> str:
    """The text in Unicode NFC, with single spaces, at most one blank line in a row, and nothing
    that can't be seen."""
    text = _to_nfc(text)
    # Expressions are tried at each character: only where a quick look says that they are needed.
    others = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    odd = others.decode("utf-8", "surrogatepass")
    if not odd.isprintable() or "\ufffc" in odd or "\ufffd" in odd:
        text = _INVISIBLE.sub("", _LINE_BREAKS.sub("\n", text))
        text = _ODD_SPACES.sub(" ", text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if " \n" in text or "\n " in text:
        text = text.replace(" \n", "\n").replace("\n ", "\n")
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip()
