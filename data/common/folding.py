"""Lines that break between words where a terminal ends, which itself would break them anywhere."""

from __future__ import annotations

import os
import re
from typing import TextIO

NARROWEST, WIDEST = 40, 160
"""Columns that are reckoned with of a terminal that has fewer or more."""
UNKNOWN = 100
"""Columns of a table where there is no terminal."""
_TITLE = re.compile(r"[A-Za-z][A-Za-z ]{0,8} {2,}(?=\S)| +(?=\S)")
"""What stands before a line's text: `Machine    `, or white space."""
_COMMAND = re.compile(
    r"(?<!\S)(?:\S*python[\d.]* (?:-m minigpt_search|\S+\.py)|\S*minigpt-search)(?!\S)"
)
"""How a command begins that can be pasted."""
_SHORT = "  "
"""Before a word for which there is no room below the text's beginning."""
_WORD = re.compile(r"\s*(?:\S*\d (?:s|ms|min|h|nats|[kMGT]?B)(?![A-Za-z])\S*|\S+)")
"""A number stays with its unit."""
_SHELL_WORD = re.compile(r"""\s*(?:'[^']*'|"[^"]*"|[^\s'"])+|\s*\S+""")
"""With what is quoted in one piece: a line break inside would be a part of it."""


def columns_of(stream: TextIO) -> int | None:
    """The columns of a stream's terminal, within bounds; None where it is none."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError, AttributeError):
        return None
    return min(WIDEST, max(NARROWEST, found)) if found else None


def table_columns(stream: TextIO) -> int:
    """The columns that a table may have which is printed to `stream`."""
    return columns_of(stream) or UNKNOWN


def fold(text: str, columns: int) -> str:
    """`text` with each line longer than `columns` broken between words, the rest of it below where
    its text begins. A command goes on after a backslash, so that it can be pasted. What moves the
    cursor stays as it is, and so does a word that is longer than a line."""
    if len(text) <= columns or "\r" in text or "\x1b" in text:
        return text
    return "\n".join(_fold_line(line, columns) for line in text.split("\n"))


def _fold_line(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    title = _TITLE.match(line)
    indent = " " * (title.end() if title else 0)
    command = _COMMAND.search(line)
    starts = command.start() if command else len(line)
    before = line[:starts].rstrip()
    prose = _WORD.findall(before)
    words = [*prose, *_SHELL_WORD.findall(line[len(before) :])]
    lines, current = [], ""
    for number, word in enumerate(words):
        inside = number > len(prose)
        room = columns - (2 if number >= len(prose) and number < len(words) - 1 else 0)
        if current.strip() and len(current) + len(word) > room:
            lines.append(current + (" \\" if inside else ""))
            long = len(indent) + len(word.lstrip()) > room
            current = (_SHORT if long else indent) + word.lstrip()
        else:
            current += word
    return "\n".join([*lines, current])
