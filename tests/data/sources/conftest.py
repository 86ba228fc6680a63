"""Files read as `--source` would read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minigpt_search.data.common.documents import Piece
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.local_files import check_files, file_sources
from minigpt_search.data.sources.readers.pieces import PART_CHARACTERS


class Read(NamedTuple):
    """What the sources of a path gave."""

    documents: list[str | bytes]
    notes: list[str]
    passed_over: dict[str, int]


def joined(found: Iterator[str | bytes | Piece]) -> list[str | bytes]:
    """The documents, pieces joined; checks that no piece is too long."""
    documents: list[str | bytes] = []
    pieces: list[str] = []
    for each in found:
        if isinstance(each, Piece):
            assert 0 < len(each.text) <= PART_CHARACTERS
            pieces.append(each.text)
            if each.ends:
                documents.append("".join(pieces))
                pieces = []
        else:
            assert not pieces, "a document ends before another begins"
            documents.append(each)
    assert not pieces
    return documents


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Read]:
    """`read(path, **fields_of_the_spec)`."""
    root = tmp_path_factory.mktemp("root")

    def read_path(path: Path, root: Path = root, **fields: Any) -> Read:
        check_files(path, "--source")
        documents: list[str | bytes] = []
        notes: list[str] = []
        passed_over: dict[str, int] = {}
        for source in file_sources(path, 0, CorpusSpec(**fields), root):
            documents += joined(source.read())
            notes += source.notes
            passed_over |= source.passed_over
        return Read(documents, notes, passed_over)

    return read_path


@pytest.fixture(scope="session")
def whole_documents() -> Callable[[Iterator[str | Piece]], list[Any]]:
    """`whole_documents(found)`: the documents, pieces joined."""
    return joined
