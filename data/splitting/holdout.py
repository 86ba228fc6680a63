"""What is held out of training: excerpts of many documents for validation and for the test.

All is measured in bytes of text, so that corpora of the same documents with other tokenizers have
the same splits. A document is seen as units of about `UNIT_BYTES`. A unit that is held out is in no
other split, and at most `EXCERPT_BYTES` of it are in its split: the loss of a few long documents
would else be most of the estimate. The rest of the unit keeps training text away from the excerpt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minigpt_search.data.filtering.shingles import mix

Ints = npt.NDArray[np.int64]

EXCERPT_BYTES = 1_280
"""The most text of one document in a split while there are others: 512 tokens of GPT-2 where one
has 2.5 bytes. Prose has 4.8, figures and tables less."""
UNIT_BYTES = 2_048
"""A document of less is held out whole."""
LEAST_UNIT_BYTES = 64
NEAR_ENOUGH = 0.02
"""The share of a budget that may be left: going on would favour short documents."""
BOUNDARY_BYTES = 100
"""How far back a cut looks for white space."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The text that may be used: K rows of a table, each a document or a part of a long one."""

    rows: Ints
    """(K,) Their numbers in the table, ascending."""
    sizes: Ints
    """(K,) The bytes of each."""
    keys: npt.NDArray[np.uint64]
    """(K,) A hash of the seed and the text of each."""
    numbers: Ints
    """(K,) The number of the document that each belongs to."""
    sources: Ints
    """(K,) The number of the source of each."""

    def take(self, chosen: npt.NDArray[np.bool_]) -> Documents:
        """Those rows of it."""
        return Documents(
            rows=self.rows[chosen],
            sizes=self.sizes[chosen],
            keys=self.keys[chosen],
            numbers=self.numbers[chosen],
            sources=self.sources[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A piece of a row, in bytes of its text."""

    row: int
    number: int
    """The number of its document."""
    start: int
    stop: int
    held_from: int
    held_to: int
    """The unit around it, which is in no split but for the excerpt."""


class Units:
    """The units of documents, in the random order of their hashes."""

    def __init__(self, documents: Documents, unit_bytes: int) -> None:
        counts = np.maximum(1, np.rint(documents.sizes / unit_bytes).astype(np.int64))
        index = np.repeat(np.arange(len(counts)), counts)
        ends = np.cumsum(counts)
        place = np.arange(len(index)) - np.repeat(ends - counts, counts)
        sizes = documents.sizes[index]
        order = np.argsort(mix(documents.keys[index] + place.astype(np.uint64)), kind="stable")
        self.rows = documents.rows[index][order]
        self.numbers = documents.numbers[index][order]
        self.sources = documents.sources[index][order]
        self._place, self._count = place[order], counts[index][order]
        self._starts = (sizes * place // counts[index])[order]
        self._stops = (sizes * (place + 1) // counts[index])[order]
        self.taken = np.zeros(len(index), np.bool_)

    def draw(self, source: int, budget: int) -> Iterator[tuple[int, Excerpt]]:
        """Take units of a source, which are in no later draw, until their excerpts have `budget`
        bytes or little less: one of each document, then a second, which is taken whole, since there
        are no others to draw from, ... Yields each unit's place in the order and its excerpt."""
        room, most = budget, EXCERPT_BYTES
        waiting = np.flatnonzero((self.sources == source) & ~self.taken).tolist()
        while waiting and room > NEAR_ENOUGH * budget:
            seen: set[int] = set()
            later = []
            for unit in waiting:
                if (number := int(self.numbers[unit])) in seen:
                    later.append(unit)
                    continue
                seen.add(number)
                excerpt = self._excerpt(unit, min(room, most))
                self.taken[unit] = True
                room -= excerpt.stop - excerpt.start
                yield unit, excerpt
                if room <= NEAR_ENOUGH * budget:
                    break
            waiting, most = later, budget

    def _excerpt(self, unit: int, most: int) -> Excerpt:
        start, stop = int(self._starts[unit]), int(self._stops[unit])
        spare = max(0, stop - start - most)
        place, count = self._place[unit], self._count[unit]
        # the document's beginning or end where the unit has it, else the middle of the unit
        before = 0 if place == 0 else spare if place == count - 1 else spare // 2
        return Excerpt(
            row=int(self.rows[unit]),
            number=int(self.numbers[unit]),
            start=start + before,
            stop=stop - spare + before,
            held_from=start,
            held_to=stop,
        )


def hold_out(
    documents: Documents, shares: Mapping[int, float], budgets: Mapping[str, int]
) -> dict[str, list[Excerpt]]:
    """Choose the excerpts of each split.

    Args:
        documents: what there is to choose from.
        shares: the share of a split that each source has; the sum is 1.
        budgets: the bytes wanted of each split; one that is 0 gets nothing.
    """
    wanted = [budget for budget in budgets.values() if budget]
    unit_bytes = max(LEAST_UNIT_BYTES, min(UNIT_BYTES, *wanted, UNIT_BYTES))
    units = Units(documents, unit_bytes)
    chosen: dict[str, list[Excerpt]] = {}
    for split, budget in budgets.items():
        drawn = [
            pair
            for source, share in shares.items()
            for pair in units.draw(source, int(share * budget))
        ]
        chosen[split] = [excerpt for _, excerpt in sorted(drawn, key=lambda pair: pair[0])]
    return chosen


def at_boundaries(excerpt: Excerpt, size: int, text: bytes) -> Excerpt:
    """The excerpt with its ends moved back to white space, or at least between characters.

    Args:
        size: the bytes of the row's text.
        text: that text, in UTF-8.
    """

    def moved(place: int) -> int:
        return place if place in (0, size) else boundary_before(text, place)

    return Excerpt(
        row=excerpt.row,
        number=excerpt.number,
        start=moved(excerpt.start),
        stop=moved(excerpt.stop),
        held_from=moved(excerpt.held_from),
        held_to=moved(excerpt.held_to),
    )


def boundary_before(text: bytes, place: int) -> int:
    """The last place up to `place` where white space begins; where there is none near, the last one
    between two characters. It never goes back where `place` goes forward."""
    first = max(0, place - BOUNDARY_BYTES)
    found = max(text.rfind(b" ", first, place + 1), text.rfind(b"\n", first, place + 1))
    if found > 0:
        return found
    while place and text[place] & 0xC0 == 0x80:  # inside of a character
        place -= 1
    return place
