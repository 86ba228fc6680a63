"""Rows out of a .json file: a list of rows, streamed; one row; an object that holds the list; or,
as many are called .json, one row after another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO

from minigpt_search.data.common.documents import Piece
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.encodings import decoded
from minigpt_search.data.sources.readers.reading import NotText, Reading
from minigpt_search.data.sources.readers.rows import Row, RowText, row_documents

_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_MARK = 12
"""The characters of the longest thing in JSON but strings and numbers: an escaped pair."""


def read_json(stream: IO[bytes], where: str, name: str, reading: Reading) -> Iterator[str | Piece]:
    """Yield the text of a .json file's rows."""
    rows = _rows(_JsonText(decoded(stream, where, name, reading), where), where, reading)
    yield from row_documents(rows, reading)


def _rows(text: _JsonText, where: str, reading: Reading) -> Iterator[Row]:
    if text.next_character() == "[":
        yield from text.items()
        return
    at, first = text.value()
    if text.next_character():  # one value after another
        yield at, first
        while text.next_character():
            yield text.value()
    else:
        for number, row in enumerate(_rows_in(first, where, reading), start=1):
            yield f"{where}, row {number:,}" if row is not first else at, row


def _rows_in(value: object, where: str, reading: Reading) -> list[object]:
    """The rows in a file's only value: itself, or those of the only list in it."""
    if isinstance(value, dict):
        try:
            RowText(reading.spec).columns(value, where)
        except UserError:
            lists = [each for each in value.values() if isinstance(each, list)]
            if len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict | str):
                return lists[0]
    return [value]


class _JsonText:
    """JSON values read off a text that comes in chunks, one after another."""

    def __init__(self, chunks: Iterator[str], where: str) -> None:
        self._chunks, self._where = chunks, where
        self._text, self._at, self._line = "", 0, 1
        self._decoder = json.JSONDecoder()
        self._values = 0

    def items(self) -> Iterator[Row]:
        """Yield the items of a list, and see that nothing follows it."""
        self._skip()
        while self.next_character() != "]":
            yield self.value()
            if self.next_character() == ",":
                self._skip()
                if self.next_character() == "]":
                    raise self._error("a value is missing after the comma")
            elif self.next_character() != "]":
                raise self._error("expected `,` or `]`")
        self._skip()
        if self.next_character():
            raise self._error("something follows the list")

    def next_character(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._pass(space.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def value(self) -> Row:
        """Read the next value, and say where it is."""
        self.next_character()
        at = f"{self._where}, line {self._line:,}"
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._text) - _LONGEST_MARK
                if (is_cut or error.msg.startswith("Unterminated")) and self._read_more():
                    continue
                self._pass(max(self._at, min(error.pos, len(self._text))))
                raise self._error(error.msg) from None
            except (ValueError, RecursionError) as error:
                raise self._error(str(error)) from None
            if end == len(self._text) and self._read_more():
                continue  # a number may go on
            self._pass(end)
            self._values += 1
            return at, value

    def _skip(self) -> None:
        self._at += 1

    def _pass(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _read_more(self) -> bool:
        """Read as much again as is waiting, so that a long value takes linear time."""
        parts = [self._text[self._at :]]
        wanted, found = len(parts[0]), 0
        for chunk in self._chunks:
            parts.append(chunk)
            found += len(chunk)
            if found > wanted:
                break
        self._text, self._at = "".join(parts), 0
        return found > 0

    def _error(self, reason: str) -> UserError:
        kind = UserError if self._values else NotText
        return kind(f"{self._where}, line {self._line:,}: not JSON ({reason})")
