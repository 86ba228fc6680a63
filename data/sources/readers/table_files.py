"""Rows out of .jsonl, .csv, .tsv and .parquet files, streamed; .json is in `json_files.py`."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, Any

from minigpt_search.data.common.documents import Piece
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.encodings import decoded
from minigpt_search.data.sources.readers.reading import NotText, Reading
from minigpt_search.data.sources.readers.rows import Row, RowText, row_documents

BATCH_BYTES = 8 * 1024 * 1024
"""About as much of a .parquet file's columns is in memory at once."""
MOST_BATCH_ROWS = 256
LARGEST_FIELD = 2**31 - 1
"""The characters of a field of a .csv; the library's own limit is 131,072."""


def read_jsonl(stream: IO[bytes], where: str, name: str, reading: Reading) -> Iterator[str | Piece]:
    """Yield the text of one JSON object (or string) a line."""

    def rows() -> Iterator[Row]:
        for number, line in enumerate(_lines(decoded(stream, where, name, reading)), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                row = UserError(
                    f"{where}, line {number}: not JSON ({error}): expected one object a line"
                )
            yield f"{where}, line {number}", row

    yield from row_documents(rows(), reading)


def _lines(chunks: Iterable[str], ends: str = "\n") -> Iterator[str]:
    """Yield the lines of a text with their ends, which match the expression `ends`. No other
    character ends one: JSON's strings may hold U+2028."""
    parts: list[str] = []  # of a line that goes on
    for chunk in chunks:
        if parts and parts[-1].endswith("\r"):  # its line's end may go on
            chunk = parts.pop() + chunk
        start = 0
        for found in re.finditer(ends, chunk):
            if found.end() == len(chunk) and found[0] == "\r":
                break
            yield "".join([*parts, chunk[start : found.end()]])
            parts, start = [], found.end()
        if start < len(chunk):
            parts.append(chunk[start:])
    if parts:
        yield "".join(parts)


def read_csv(stream: IO[bytes], where: str, name: str, reading: Reading) -> Iterator[str | Piece]:
    """Yield the text of a table's rows; the first row names the columns. Fields are parted by the
    mark that the first line has most of: a comma, a semicolon or a tab."""
    yield from row_documents(_table(stream, where, name, reading, ",;\t"), reading)


def read_tsv(stream: IO[bytes], where: str, name: str, reading: Reading) -> Iterator[str | Piece]:
    """Yield the text of the rows of a table with tabs between fields, as `read_csv` does."""
    yield from row_documents(_table(stream, where, name, reading, "\t"), reading)


def _table(
    stream: IO[bytes], where: str, name: str, reading: Reading, delimiters: str
) -> Iterator[Row]:
    lines = _lines(decoded(stream, where, name, reading), "\r\n?|\n")
    first = next(lines, "")
    delimiter = max(delimiters, key=first.count)
    table = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    csv.field_size_limit(LARGEST_FIELD)  # of the whole process: the library knows no other
    columns: list[str] = []
    while True:
        at = f"{where}, line {table.line_num + 1}"
        try:
            fields = next(table, None)
        except csv.Error as error:
            wrong = UserError(f"{at}: not a row of a table ({error})")
            if not columns:
                raise NotText(str(wrong)) from None
            yield at, wrong
            continue
        if fields is None:
            return
        if not columns:
            columns = fields
            if len(set(columns)) < len(columns):
                raise NotText(f"{at}: two columns have one name: the first line names them")
        elif len(fields) == len(columns):
            yield at, dict(zip(columns, fields, strict=True))
        elif fields:
            counts = f"{len(fields)} fields, the first line names {len(columns)}"
            yield at, UserError(f"{at}: {counts}")


def read_parquet(
    stream: IO[bytes], where: str, name: str, reading: Reading
) -> Iterator[str | Piece]:
    """Yield the text of a parquet file's rows."""
    import pyarrow  # takes a while to import, only needed here

    try:
        with _seekable(stream) as whole:
            yield from row_documents(_parquet_rows(whole, where, reading), reading)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{where}: not a valid parquet file ({reason})") from None


def _parquet_rows(stream: IO[bytes], where: str, reading: Reading) -> Iterator[Row]:
    from pyarrow import parquet

    # Without `pre_buffer`, columns are read page by page, not row group by row group.
    with parquet.ParquetFile(
        stream, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True
    ) as opened:
        names = opened.schema_arrow.names
        try:
            columns = RowText(reading.spec).columns(names, where)
        except UserError as error:
            raise NotText(str(error)) from None
        reading.unused_columns |= dict.fromkeys(n for n in names if n not in columns)
        number = 0
        for batch in opened.iter_batches(batch_size=_batch_rows(opened), columns=list(columns)):
            for row in batch.to_pylist():
                number += 1
                yield f"{where}, row {number:,}", row


def _batch_rows(opened: Any) -> int:
    """The rows to read at once: their bytes are not known beforehand, but those of row groups."""
    groups = [opened.metadata.row_group(index) for index in range(opened.num_row_groups)]
    largest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
    return int(max(1, min(MOST_BATCH_ROWS, BATCH_BYTES // max(largest, 1))))


@contextmanager
def _seekable(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """The stream; if it is compressed, its content in a file that has no name."""
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as whole:
        shutil.copyfileobj(stream, whole, BATCH_BYTES)
        whole.seek(0)
        yield whole
