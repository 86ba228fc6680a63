"""The text of a row: its text column, a template, or what chats and instructions are made of.

A row that has no text column (and `--text-column` names none) is text by its other columns:

    messages, conversations               paragraphs `ROLE: TEXT`, one for each message
    instruction, input, context, output   paragraphs, those that are not empty; so are
    prompt, completion                    these, with `response` for the last one,
    context, question, answer             and these
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minigpt_search.data.common.documents import Piece
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import REFUSE, CorpusSpec
from minigpt_search.data.sources.readers.pieces import PART_CHARACTERS, documents
from minigpt_search.data.sources.readers.reading import NotText, Reading

_SHAPES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("messages",),),
    (("conversations",),),
    (("instruction",), ("input", ""), ("context", ""), ("output", "response")),
    (("prompt",), ("completion", "response")),
    (("context", ""), ("question",), ("answer", "response")),
)
"""What a row may be made of, by column: one of these names, where "" is in place of none."""
MOST_NAMES = 12
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}

Row = tuple[str, object]
"""A row as its file holds it, or why it can't be read, with how messages name it."""


def parse_template(template: str) -> list[tuple[str, str | None]]:
    """The literal text and the column after it, for each part of `--template`; `\\n` and `\\t` are
    escapes, braces are doubled where they are text.

    Raises:
        UserError: anything but names of columns in braces.
    """
    text = re.sub(r"\\([nt\\])", lambda match: _ESCAPES[match[1]], template)
    where = f"--template {template!r}"
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(f"{where}: {error}: write {{COLUMN}}, and {{{{ for a brace") from None
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise UserError(f"{where}: only a column's name may stand in braces")
    columns = [column for _, column, _, _ in parts if column is not None]
    if not columns or not all(columns):
        raise UserError(f"{where}: names no column: write '{{question}}\\n{{answer}}', for example")
    return [(literal, column) for literal, column, _, _ in parts]


class RowText:
    """Makes rows into text, as a spec says."""

    def __init__(self, spec: CorpusSpec) -> None:
        self._column = spec.text_column
        self._template = None if spec.template is None else parse_template(spec.template)

    def columns(self, names: Iterable[str], where: str) -> tuple[str, ...]:
        """Which of a row's columns its text is made of.

        Raises:
            UserError: there is no such column.
        """
        names = list(names)
        if self._template is not None:
            wanted = [column for _, column in self._template if column is not None]
            for column in wanted:
                if column not in names:
                    raise UserError(
                        f"{where}: no column {column!r}, which --template names; there are "
                        f"{_listed(names)}"
                    )
            return tuple(dict.fromkeys(wanted))
        if self._column in names:
            return (self._column,)
        if self._column == CorpusSpec.text_column:
            for shape in _SHAPES:
                found = [next((n for n in one if not n or n in names), None) for one in shape]
                if None not in found:
                    return tuple(name for name in found if name)
        raise UserError(
            f"{where}: no column {self._column!r}; there are {_listed(names)}: "
            "name one with --text-column, or several with --template"
        )

    def text(self, row: Mapping[str, Any], where: str) -> str:
        """The text of a row; "" where that is null.

        Raises:
            UserError: no such column, or no text in it.
        """
        if self._template is None and self._column in row:
            text = row[self._column]
            if text is None or isinstance(text, str):
                return text or ""
            raise UserError(
                f"{where}: column {self._column!r} holds a {type(text).__name__}, not text: "
                "name another with --text-column"
            )
        columns = self.columns(row, where)
        if self._template is not None:
            parts = (
                literal + ("" if column is None else _value(row[column], column, where))
                for literal, column in self._template
            )
            return "".join(parts)
        paragraphs = (_value(row[column], column, where) for column in columns)
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)

    def told(self, row: Mapping[str, Any], where: str) -> str:
        """What a note says of how a row's text is made; "" for the usual ways."""
        if self._template is not None or self._column in row:
            return ""
        columns = self.columns(row, where)
        kind = "`ROLE: TEXT` paragraphs" if len(columns) == 1 else "paragraphs"
        made = f"rows without a column {self._column!r} are {kind} of {', '.join(columns)}"
        return f"{made} (--template makes others)"


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_NAMES
    shown = ", ".join(map(repr, names[:MOST_NAMES])) or "none"
    return f"{shown} and {rest} more" if rest > 0 else shown


def _value(value: Any, column: str, where: str) -> str:
    """A column's value as text; that of messages as paragraphs."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool() | int() | float():
            return str(value)
        case list():
            messages = [_message(each, column, where) for each in value]
            return "\n\n".join(messages)
    raise UserError(f"{where}: column {column!r} holds a {type(value).__name__}, not text")


def _message(message: Any, column: str, where: str) -> str:
    if isinstance(message, dict):
        role = message.get("role", message.get("from"))
        content = message.get("content", message.get("value"))
        if isinstance(content, list):
            parts = [part.get("text") if _is_text(part) else None for part in content]
            content = None if None in parts else "".join(map(str, parts))
        if isinstance(role, str) and isinstance(content, str):
            return f"{role}: {content}"
    raise UserError(
        f"{where}: column {column!r} holds what is no text message: expected "
        '[{"role": ..., "content": TEXT}, ...] or [{"from": ..., "value": TEXT}, ...]'
    )


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type", "text") == "text"
        and isinstance(part.get("text"), str)
    )


def row_documents(rows: Iterable[Row], reading: Reading) -> Iterator[str | Piece]:
    """Yield the documents of rows, which are objects or strings. Rows without text are counted.

    Raises:
        NotText: the first row has no text, so that the file is of another kind.
        UserError: a row can't be read, and such are not to be passed over.
    """
    rules, are_first = RowText(reading.spec), True
    for where, row in rows:
        try:
            text = _row_text(row, rules, where, reading)
        except UserError as error:
            if are_first and not isinstance(row, UserError) and reading.spec.bad_rows == REFUSE:
                raise NotText(str(error)) from None
            reading.bad_row(error)
            continue
        are_first = False
        if not text:
            reading.passed_over["empty_row"] += 1
        separator = reading.spec.separator
        if text and len(text) <= PART_CHARACTERS and (separator is None or separator not in text):
            yield text  # as is most often the case, and `documents` would do
        else:
            yield from documents([text], separator)


def _row_text(row: object, rules: RowText, where: str, reading: Reading) -> str:
    match row:
        case UserError():
            raise row
        case str():
            text = row
        case dict():
            text = rules.text(row, where)
            if told := rules.told(row, where):
                reading.tell(told)
            if len(row) > 1:
                used = rules.columns(row, where)
                reading.unused_columns |= dict.fromkeys(
                    name for name in row if name not in used and row[name] is not None
                )
        case _:
            kind = type(row).__name__
            raise UserError(f"{where}: expected an object, found a {kind}")
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        # Half a surrogate pair, which JSON can spell, stands for no character.
        reading.tell("half a surrogate pair is read as U+FFFD", where.rpartition("/")[2])
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
