"""Exact repetition of web text: whole documents, and long paragraphs within and across documents.

Only the digests of documents and paragraphs decide, in the order in which they come. So digests may
be made anywhere (`digest`), the decisions fall in one place (`RepeatFilter.decide`), and what they
leave of the texts is taken out where the texts are (`without_repeats`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Document

PARAGRAPH_CHARACTERS = 80
"""Shorter paragraphs may be repeated: headings, forms of address, lines of a list."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Digests:
    """All that decides about repetition in N documents with L long paragraphs."""

    documents: npt.NDArray[np.bytes_]
    """(N,) The digest of each document, 16 bytes."""
    paragraphs: npt.NDArray[np.uint64]
    """(L,) The digests of the long paragraphs of the first document, then of the second, ..."""
    counts: npt.NDArray[np.int64]
    """(N,) The number of long paragraphs of each document."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What of N documents with L long paragraphs comes for the first time."""

    documents: Flags
    """(N,) Whether each document is new."""
    paragraphs: Flags
    """(L,) Whether each long paragraph is new."""


def digest(documents: Sequence[Document]) -> Digests:
    """Find the digests of clean documents and of their long paragraphs."""
    texts = [document.text for document in documents]
    whole = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    long = [
        [line for line in text.split("\n") if len(line) >= PARAGRAPH_CHARACTERS] for text in texts
    ]
    parts = [
        hashlib.blake2b(line.encode(), digest_size=8).digest() for lines in long for line in lines
    ]
    return Digests(
        documents=np.frombuffer(b"".join(whole), "S16"),
        paragraphs=np.frombuffer(b"".join(parts), "<u8").astype(np.uint64, copy=False),
        counts=np.fromiter(map(len, long), np.int64, len(long)),
    )


LINES_REMOVED, CHARACTERS_REMOVED = "lines_removed", "characters_removed"
"""What `without_repeats` counts inside of documents that it keeps."""


def without_repeats(
    documents: Sequence[Document],
    digests: Digests,
    decisions: Decisions,
    applies_to: Container[int],
) -> tuple[list[Document], Counter[tuple[int, str]], Counter[tuple[int, str]]]:
    """What is new of N documents, of those whose source is in `applies_to`; the others stay as they
    are, but for the empty.

    Returns the documents; how many were dropped by (source, reason); and the lines and characters
    removed inside of those that stay by (source, LINES_REMOVED or CHARACTERS_REMOVED).
    """
    kept: list[Document] = []
    dropped: Counter[tuple[int, str]] = Counter()
    removed: Counter[tuple[int, str]] = Counter()
    ends = np.cumsum(digests.counts)
    starts = ends - digests.counts
    new_before = np.concatenate(([0], np.cumsum(decisions.paragraphs)))
    rows = zip(
        documents,
        decisions.documents.tolist(),
        digests.counts.tolist(),
        (new_before[ends] - new_before[starts]).tolist(),
        starts.tolist(),
        strict=True,
    )
    for document, is_new, count, new, start in rows:
        if not document.text:
            dropped[document.source, "empty"] += 1
        elif document.source not in applies_to:
            kept.append(document)
        elif not is_new:
            dropped[document.source, "exact_duplicate"] += 1
        elif new == count:
            kept.append(document)
        else:
            flags = iter(decisions.paragraphs[start : start + count].tolist())
            lines = [
                line
                for line in document.text.split("\n")
                if len(line) < PARAGRAPH_CHARACTERS or next(flags)
            ]
            if not (text := "\n".join(lines).strip()):
                dropped[document.source, "repeated_paragraphs"] += 1
                continue
            kept.append(document._replace(text=text))
            removed[document.source, LINES_REMOVED] += count - new
            removed[document.source, CHARACTERS_REMOVED] += len(document.text) - len(text)
    return kept, dropped, removed


class RepeatFilter:
    """Keeps the first of each document and of each long paragraph.

    Memory: 8 bytes for each paragraph of at least 80 characters, 16 for each document.
    """

    def __init__(self, applies_to: Container[int]) -> None:
        self._applies_to = applies_to
        self.dropped: Counter[tuple[int, str]] = Counter()
        """The number of documents dropped, by (source, reason)."""
        self.removed: Counter[tuple[int, str]] = Counter()
        """What was removed inside of documents that stay, as `without_repeats` counts it."""
        self._documents, self._paragraphs = FirstSeen(), FirstSeen()

    def decide(self, digests: Digests) -> Decisions:
        """Decide what is new in the next documents. (A repeated document's paragraphs are known
        from its first, so that it makes no difference that they are looked at again.)"""
        return Decisions(
            documents=self._documents.is_new(digests.documents),
            paragraphs=self._paragraphs.is_new(digests.paragraphs),
        )

    def keep_new(self, batches: Iterable[list[Document]]) -> Iterator[Document]:
        """Yield the documents that are new, without those of their paragraphs that are not."""
        for batch in batches:
            yield from self._new_parts(batch)

    def _new_parts(self, batch: Sequence[Document]) -> list[Document]:
        digests = digest(batch)
        decisions = self.decide(digests)
        kept, dropped, removed = without_repeats(batch, digests, decisions, self._applies_to)
        self.dropped.update(dropped)
        self.removed.update(removed)
        return kept


class FirstSeen:
    """Tells which values of a stream come for the first time. It keeps them in sorted arrays, each
    more than twice as long as the next, which take a tenth of the memory of a `set` of bytes."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[Any]] = []

    def is_new(self, values: npt.NDArray[Any]) -> Flags:
        """Whether each of the next values, (N,), came neither before nor earlier among these."""
        distinct, first = np.unique(values, return_index=True)
        known = np.zeros(len(distinct), np.bool_)
        for run in self._runs:
            indices = np.minimum(np.searchsorted(run, distinct), len(run) - 1)
            known |= run[indices] == distinct
        new = np.zeros(len(values), np.bool_)
        new[first[~known]] = True
        if not known.all():
            self._keep(distinct[~known])
        return new

    def _keep(self, run: npt.NDArray[Any]) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            # "stable" merges two sorted runs in one pass
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
