"""What files there are to read, by the ending of their names, and what reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from minigpt_search.data.common.documents import Form, Piece
from minigpt_search.data.sources.readers.compressed import OPENERS
from minigpt_search.data.sources.readers.encodings import decoded
from minigpt_search.data.sources.readers.json_files import read_json
from minigpt_search.data.sources.readers.mediawiki import read_dump
from minigpt_search.data.sources.readers.pages import read_page
from minigpt_search.data.sources.readers.pieces import documents
from minigpt_search.data.sources.readers.reading import Reading
from minigpt_search.data.sources.readers.table_files import (
    read_csv,
    read_jsonl,
    read_parquet,
    read_tsv,
)
from minigpt_search.data.sources.readers.token_files import read_tokens

Reader = Callable[[IO[bytes], str, str, Reading], Iterator[str | bytes | Piece]]
"""Reads a file's content: from the stream, how messages and how notes name the file, and what all
files of the source share."""


class Format(NamedTuple):
    """What a file's ending says of it."""

    ending: str
    """In small letters, with that of the compression: `.txt`, `.jsonl.gz`."""
    form: Form
    read: Reader


def _read_text(
    stream: IO[bytes], where: str, name: str, reading: Reading
) -> Iterator[str | bytes | Piece]:
    yield from documents(decoded(stream, where, name, reading), reading.spec.separator)


def _read_dump(
    stream: IO[bytes], where: str, name: str, reading: Reading
) -> Iterator[str | bytes | Piece]:
    yield from read_dump(stream, where)


_PROSE = ".txt .text .md .markdown .rst .org .tex .adoc .asciidoc .log .srt .vtt .bib .po"
_SOURCE_CODE = (
    ".py .pyi .pyx .c .h .cc .cpp .cxx .hh .hpp .cu .cuh .m .mm .cs .java .kt .kts .scala .groovy "
    ".js .mjs .cjs .jsx .ts .tsx .vue .svelte .go .rs .rb .pl .pm .php .lua .swift .r .jl .hs .ml "
    ".mli .fs .clj .ex .exs .erl .elm .lisp .el .scm .dart .zig .nim .v .sv .vhd .asm .f .f90 .pas "
    ".sh .bash .zsh .fish .ps1 .bat .sql .css .scss .less .yaml .yml .toml .ini .cfg .conf .cmake "
    ".mk .gradle .proto .graphql .tf"
)
_READERS: dict[str, tuple[Form, Reader]] = {
    **{ending: ("plain", _read_text) for ending in (*_PROSE.split(), *_SOURCE_CODE.split())},
    ".jsonl": ("plain", read_jsonl),
    ".ndjson": ("plain", read_jsonl),
    ".json": ("plain", read_json),
    ".csv": ("plain", read_csv),
    ".tsv": ("plain", read_tsv),
    ".parquet": ("plain", read_parquet),
    ".bin": ("plain", read_tokens),
    ".html": ("html_page", read_page),
    ".htm": ("html_page", read_page),
    ".xhtml": ("html_page", read_page),
    ".xml": ("wikitext", _read_dump),
}
TOKEN_ENDING = ".bin"
"""It is read where such a file is named; in folders it may be anything."""
KNOWN = (
    ".txt, .md, source code, .jsonl, .json, .csv, .tsv, .parquet, .html, MediaWiki .xml, "
    f"nanoGPT's .bin, each also as {' '.join(OPENERS)}"
)
"""The formats, for messages."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar")


def format_of(file: Path) -> Format | None:
    """The format of a file by its name; None for one that is not read."""
    packing, inner = "", file
    if file.suffix.lower() in OPENERS:
        packing, inner = file.suffix.lower(), file.with_suffix("")
    ending = inner.suffix.lower()
    found = _READERS.get(ending)
    return Format(ending + packing, *found) if found else None


def is_archive(file: Path) -> bool:
    """Whether a file holds others, by its name."""
    inner = file.with_suffix("") if file.suffix.lower() in OPENERS else file
    return inner.suffix.lower() in _ARCHIVES
