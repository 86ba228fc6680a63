"""Lines that break between words where a terminal ends, which itself would break them anywhere."""

from __future__ import annotations

import argparse
import itertools
import os
import re
from operator import methodcaller
from typing import TextIO

NARROWEST, WIDEST = 40, 160
"""Columns that are reckoned with of a terminal that has fewer or more."""
UNKNOWN = 100
"""Columns of a table where there is no terminal."""
_TITLE = re.compile(r"[A-Za-z][A-Za-z ]{0,8} {2,}(?=\S)|[A-Z][a-z]{9} (?=\S)| +(?=\S)")
"""What stands before a line's text: `Machine    `, `Validation `, or white space."""
_COMMAND = re.compile(
    r"(?<!\S)(?:\S*python[\d.]* (?:-m minigpt_search|\S+\.py)|\S*minigpt-search)(?!\S)"
)
"""How a command begins that can be pasted."""
_BELOW = "    "
"""Before what stands below its term."""
_SHORT = "  "
"""Before a word for which there is no room below the text's beginning."""
_WORD = re.compile(r"\s*(?:\S*\d (?:s|ms|min|h|nats|[kMGT]?B)(?![A-Za-z])\S*|\S+)")
"""A number stays with its unit."""
_DEFINITION = re.compile(r"( *\S+(?: \S+)*  +)(?=\S)")
"""A term with the white space between it and what is said of it: `  builtin     nine texts`."""
_NARROWEST_TEXT = 24
"""Columns: with less room beside its term a definition stands below it."""
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


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help that breaks between words at any width, and long lists of values after a comma; what is
    laid out by hand stays so where it fits."""

    def start_section(self, heading: str | None) -> None:
        """Begin a group of flags under its `heading`, to which argparse adds a colon."""
        lines = _filled(heading or "", max(self._width - 1, _NARROWEST_TEXT))
        super().start_section("\n".join(lines))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _filled(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        if max(map(len, lines), default=0) + len(indent) > width:
            lines = _laid_out(lines, width - len(indent))
        return "".join(f"{indent}{line}".rstrip() + "\n" for line in lines)


def _filled(text: str, columns: int, first: str = "", rest: str = "") -> list[str]:
    """The words of `text` in lines of so many `columns`; `first` stands before the first line and
    `rest` before the others. Only a list of values that is longer than a line is parted."""
    lines, current, empty = [], first, True
    for word in text.split():
        long = len(rest) + len(word) > columns
        for number, piece in enumerate(re.split(r"(?<=,)(?=.)", word) if long else [word]):
            glue = " " if number == 0 and not empty else ""
            if not empty and len(current) + len(glue) + len(piece) > columns:
                lines.append(current)
                current, glue = rest, ""
            current, empty = current + glue + piece, False
    return [*lines, current] if not empty else lines


def _laid_out(lines: list[str], columns: int) -> list[str]:
    """Lines of a help's text anew in so many columns: paragraphs, definitions with what goes on
    below them, commands that can be pasted, and other lines that are indented one by one."""
    found: list[str] = []
    while lines:
        line, lines = lines[0], lines[1:]
        indent = " " * (len(line) - len(line.lstrip()))
        definition = _DEFINITION.match(line) if indent else None
        if not line.strip() or _COMMAND.search(line):
            found += fold(line, columns).split("\n")
        elif definition:
            beside = " " * definition.end()
            more = list(itertools.takewhile(methodcaller("startswith", beside), lines))
            lines = lines[len(more) :]
            text = " ".join([line[definition.end() :], *more])
            if columns - len(beside) >= _NARROWEST_TEXT:
                found += _filled(text, columns, definition[0], beside)
            else:
                below = indent + _BELOW
                found += _filled(definition[0], columns, indent, below)
                found += _filled(text, columns, below, below)
        elif indent:
            found += _filled(line, columns, indent, indent + _BELOW)
        else:
            more = list(itertools.takewhile(_is_prose, lines))
            lines = lines[len(more) :]
            found += _filled(" ".join([line, *more]), columns)
    return found


def _is_prose(line: str) -> bool:
    return bool(line[:1].strip()) and not _COMMAND.search(line)
