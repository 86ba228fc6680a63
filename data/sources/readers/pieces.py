"""Text of any length to documents: ended by a separator, and in pieces where they are long.

Nothing is changed: the pieces of a document, one after another, are the document to the character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from minigpt_search.data.common.documents import Piece

PART_CHARACTERS = 50_000
"""A longer document comes in pieces of at most this size, so that memory stays bounded, and a book
in one file still gives three splits."""


def documents(chunks: Iterable[str], separator: str | None) -> Iterator[str | Piece]:
    """Yield the documents of a text that comes in chunks, those that are long in pieces.

    Args:
        chunks: the text; where it is cut does not matter.
        separator: it ends a document wherever it stands, and is no part of one, nor is the line's
            end after a separator that has its line to itself. None: the text is one document.
            Documents without any character are left out.
    """
    waiting = ""  # of the present document: what no piece was made of yet
    was_cut = False
    for text in _parted(chunks, separator):
        if text is not None:
            waiting += text
            start = 0
            while len(waiting) - start > PART_CHARACTERS:
                end = _cut(waiting, start)
                yield Piece(waiting[start:end], ends=False)
                start, was_cut = end, True
            waiting = waiting[start:]
        elif waiting:  # never empty after a cut: a cut leaves at least one character
            yield Piece(waiting, ends=True) if was_cut else waiting
            waiting, was_cut = "", False


def _cut(text: str, start: int) -> int:
    """The end of the piece that begins at `start`, of a text that goes on after it: after a line's
    end in its last half; else after a space there; else anywhere but within a character."""
    half, end = start + PART_CHARACTERS // 2, start + PART_CHARACTERS
    for line_end in ("\n", "\r", " "):
        place = text.rfind(line_end, half, end) + 1
        if place and text[place - 1 : place + 1] != "\r\n":
            return place
    latest = end
    while end > half and _belong_together(text[end - 1], text[end]):
        end -= 1
    return end if end > half else latest


def _belong_together(before: str, after: str) -> bool:
    if (before, after) == ("\r", "\n") or "\ud800" <= before <= "\udbff":
        return True
    return not after.isascii() and unicodedata.category(after).startswith("M")


def _parted(chunks: Iterable[str], separator: str | None) -> Iterator[str | None]:
    """Yield the text between separators, in parts, and None where a document ends."""
    if separator is None:
        yield from chunks
        yield None
        return
    is_on_lines = not {"\r", "\n"} & set(separator)
    waiting = ""
    at_line_start = True  # whether what waits begins a line
    for chunk in _and_end(chunks):
        waiting += chunk or ""
        start = 0
        while (found := waiting.find(separator, start)) >= 0:
            end = found + len(separator)
            if found > start:
                at_line_start = waiting[found - 1] in "\r\n"
            if is_on_lines and at_line_start:
                if chunk is not None and waiting[end : end + 2] in ("", "\r"):
                    break  # a line's end may follow
                end += _line_end(waiting, end)
            yield waiting[start:found]
            yield None
            at_line_start = waiting[end - 1] in "\r\n"
            start = end
        # a separator may have begun, or wait for what follows it
        sure = len(waiting) - len(separator) + 1 if found < 0 else found
        if chunk is None:
            sure = len(waiting)
        if sure > start:
            yield waiting[start:sure]
            at_line_start = waiting[sure - 1] in "\r\n"
            start = sure
        waiting = waiting[start:]
    yield None


def _line_end(text: str, at: int) -> int:
    """The length of the line's end at this place."""
    if text.startswith("\r\n", at):
        return 2
    return int(text.startswith(("\r", "\n"), at))


def _and_end(chunks: Iterable[str]) -> Iterator[str | None]:
    yield from chunks
    yield None
