"""Text in files of the user's own: .txt, .jsonl, .parquet, .html, MediaWiki dumps, and folders.

All are streamed. Formats by the end of the file's name:

    .txt               one document, or several with lines `<|endoftext|>` between them
    .jsonl             one JSON object a line, the text in the text column
    .parquet           a string column, the text column
    .html .htm         a web page
    .xml .xml.bz2      a MediaWiki dump
"""

from __future__ import annotations

import bz2
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from minigpt_search.data.common.documents import Form, Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.mediawiki import read_dump

SEPARATOR_LINE = "<|endoftext|>"
PART_CHARACTERS = 50_000
"""A longer .txt document is read in parts of this size, each a document, cut at a line's end where
there is one: memory stays bounded, and a book in one file still gives three splits."""

Reader = Callable[[Path, str], Iterator[str | bytes]]


def file_sources(path: Path, group: int, text_column: str) -> list[Source]:
    """A file as one source; a folder as one source for each kind of text in it.

    Raises:
        UserError: as `files_by_format`.
    """
    by_format = files_by_format(path)
    sources = []
    for ending, members in by_format.items():
        form, reader = FORMATS[ending]
        sources.append(
            Source(
                name=path.name if len(by_format) == 1 else f"{path.name} ({ending})",
                title=f"{len(members)} {ending} files" if path.is_dir() else path.name,
                kind="user",
                form=form,
                read=partial(_read_all, members, reader, text_column),
                group=group,
                sha256=_hash_files(members),
            )
        )
    return sources


def files_by_format(path: Path) -> dict[str, list[Path]]:
    """Sort the file, or the folder's files, by ending.

    Raises:
        UserError: a kind of file that is not known, or a folder without any that is.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    found: dict[str, list[Path]] = {}
    for file in files:
        if ending := _ending(file):
            found.setdefault(ending, []).append(file)
    if not found:
        raise UserError(f"--source {path}: no file that ends in {', '.join(FORMATS)}")
    return found


def _ending(file: Path) -> str:
    return next((ending for ending in FORMATS if file.name.lower().endswith(ending)), "")


def _hash_files(files: Sequence[Path]) -> str:
    """The SHA-256 of a file; of several files, the SHA-256 over theirs in order."""
    digests = []
    for file in files:
        try:
            with file.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256"))
        except OSError as error:
            raise UserError(f"--source {file}: cannot be read ({error.strerror})") from None
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def _read_all(files: Sequence[Path], reader: Reader, text_column: str) -> Iterator[str | bytes]:
    for file in files:
        try:
            yield from reader(file, text_column)
        except UnicodeDecodeError as error:
            raise UserError(
                f"--source {file}: not UTF-8 ({error.reason}, byte "
                f"0x{error.object[error.start]:02x}): convert it, for example with iconv"
            ) from None
        except (OSError, EOFError) as error:  # bz2 says "Invalid data stream", or EOFError if cut
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"--source {file}: cannot be read ({reason}): is it whole?") from None


def _read_text(file: Path, text_column: str) -> Iterator[str]:
    lines: list[str] = []
    characters = 0
    with file.open(encoding="utf-8-sig") as stream:
        while line := stream.readline(PART_CHARACTERS):
            ends = line.strip() == SEPARATOR_LINE
            if ends or characters + len(line) > PART_CHARACTERS:
                yield "".join(lines)
                lines, characters = [], 0
            if not ends:
                lines.append(line)
                characters += len(line)
    yield "".join(lines)


def _read_jsonl(file: Path, text_column: str) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"--source {file}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{where}: not JSON ({error}): expected one object a line"
                ) from None
            if not isinstance(row, dict):
                raise UserError(f"{where}: expected an object, found a {type(row).__name__}")
            # Half a surrogate pair, which JSON can spell, becomes U+FFFD.
            units = text_of(row, text_column, where).encode("utf-16-le", "surrogatepass")
            yield units.decode("utf-16-le", "replace")


def text_of(row: dict[str, object], text_column: str, where: str) -> str:
    """The text of a row; "" where the column is null.

    Raises:
        UserError: no such column, or no text in it.
    """
    if text_column not in row:
        raise UserError(
            f"{where}: no column {text_column!r}; there are {', '.join(map(repr, row)) or 'none'}: "
            "name one with --text-column"
        )
    text = row[text_column]
    if text is not None and not isinstance(text, str):
        raise UserError(
            f"{where}: column {text_column!r} holds a {type(text).__name__}, not text: "
            "name another with --text-column"
        )
    return text or ""


def _read_parquet(file: Path, text_column: str) -> Iterator[str]:
    import pyarrow  # takes a while to import, only needed here
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            where = f"--source {file}"
            text_of(dict.fromkeys(names), text_column, where)
            for batch in opened.iter_batches(batch_size=256, columns=[text_column]):
                for text in batch.column(0).to_pylist():
                    yield text_of({text_column: text}, text_column, where)
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"--source {file}: not a valid parquet file ({reason})") from None


def _read_page(file: Path, text_column: str) -> Iterator[bytes]:
    yield file.read_bytes()


def _read_xml(file: Path, text_column: str) -> Iterator[str]:
    with file.open("rb") as stream:
        yield from read_dump(stream, f"--source {file}")


def _read_packed_xml(file: Path, text_column: str) -> Iterator[str]:
    with bz2.open(file) as stream:
        yield from read_dump(stream, f"--source {file}")


FORMATS: dict[str, tuple[Form, Reader]] = {
    ".txt": ("plain", _read_text),
    ".jsonl": ("plain", _read_jsonl),
    ".parquet": ("plain", _read_parquet),
    ".html": ("html_page", _read_page),
    ".htm": ("html_page", _read_page),
    ".xml": ("wikitext", _read_xml),
    ".xml.bz2": ("wikitext", _read_packed_xml),
}
