"""Excerpts for validation and test: many documents, little of each, nothing near them in train."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.splitting.holdout import (
    BOUNDARY_BYTES,
    EXCERPT_BYTES,
    NEAR_ENOUGH,
    UNIT_BYTES,
    Documents,
    at_boundaries,
    boundary_before,
    hold_out,
)


def documents(sizes: list[int], seed: int = 0, **columns: Any) -> Documents:
    generator = np.random.default_rng(seed)
    count = len(sizes)
    given = {
        "rows": np.arange(count),
        "sizes": np.array(sizes),
        "keys": generator.integers(0, 2**63, count, np.uint64),
        "numbers": np.arange(count),
        "sources": np.zeros(count, np.int64),
        **columns,
    }
    return Documents(**given)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=60),
    val=st.integers(64, 20_000),
    test=st.integers(64, 20_000),
    seed=st.integers(0, 5),
)
def test_units_are_disjoint_and_splits_within_their_budgets(
    sizes: list[int], val: int, test: int, seed: int
) -> None:
    chosen = hold_out(documents(sizes, seed), {0: 1.0}, {"val": val, "test": test})
    held: dict[int, list[tuple[int, int]]] = {}
    for split, budget in (("val", val), ("test", test)):
        own = chosen[split]
        assert sum(each.stop - each.start for each in own) <= budget
        for each in own:
            assert 0 <= each.held_from <= each.start < each.stop <= each.held_to
            assert each.held_to <= sizes[each.row]
            held.setdefault(each.row, []).append((each.held_from, each.held_to))
    own = chosen["val"]
    if len({each.number for each in own}) < len(sizes):  # some document has given nothing yet
        assert all(each.stop - each.start <= EXCERPT_BYTES for each in own)
    for units in held.values():
        units.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(units))


def test_a_document_gives_a_second_excerpt_only_when_all_have_given_one() -> None:
    sizes = [200_000] * 10 + [3_000] * 10
    few = hold_out(documents(sizes), {0: 1.0}, {"val": 10 * EXCERPT_BYTES})["val"]
    assert len({each.number for each in few}) == len(few) == 10
    budget = 20 * EXCERPT_BYTES + 20 * UNIT_BYTES
    many = hold_out(documents(sizes), {0: 1.0}, {"val": budget})["val"]
    counts = np.bincount([each.number for each in many], minlength=20)
    assert counts[10:].tolist() == [1] * 10  # they have one unit each
    assert set(counts[:10].tolist()) == {3}
    whole = [each for each in many if (each.held_from, each.held_to) == (each.start, each.stop)]
    assert len(whole) >= 19  # all but the first of each document, and the last


def test_parts_of_one_document_count_as_one() -> None:
    parts = documents([3_000] * 20, numbers=np.arange(20) // 10)
    chosen = hold_out(parts, {0: 1.0}, {"val": 2 * EXCERPT_BYTES})["val"]
    assert sorted(each.number for each in chosen) == [0, 1]


def test_long_documents_are_chosen_by_their_length() -> None:
    """Of text in documents of two sizes each has its share of the excerpts, so that the split is
    of the same kind as what is trained on."""
    sizes = [60_000] * 100 + [3_000] * 2_000  # half of the text in either
    shares = []
    for seed in range(5):
        chosen = hold_out(documents(sizes, seed), {0: 1.0}, {"val": 90 * EXCERPT_BYTES})["val"]
        shares.append(np.mean([each.row < 100 for each in chosen]))
    assert 0.3 < np.mean(shares) < 0.55  # a little less than half: each is taken once


def test_sources_have_their_shares() -> None:
    own = documents([3_000] * 400, sources=np.arange(400) % 2)
    chosen = hold_out(own, {0: 0.25, 1: 0.75}, {"val": 100_000})["val"]
    sizes = np.bincount([each.row % 2 for each in chosen], [e.stop - e.start for e in chosen])
    assert 0.24 <= sizes[0] / sizes.sum() <= 0.26
    assert (1 - NEAR_ENOUGH) * 100_000 <= sizes.sum() <= 100_000


def test_the_reading_order_does_not_matter() -> None:
    straight = documents([5_000 + 10 * n for n in range(300)])
    backward = documents([0] * 300)
    backward = Documents(
        rows=straight.rows,
        sizes=straight.sizes[::-1],
        keys=straight.keys[::-1],
        numbers=straight.numbers,
        sources=straight.sources,
    )
    budgets = {"val": 60_000, "test": 60_000}
    one, two = (hold_out(each, {0: 1.0}, budgets) for each in (straight, backward))
    for split in budgets:
        assert [(299 - e.row, e.start, e.stop) for e in one[split]] == [
            (e.row, e.start, e.stop) for e in two[split]
        ]


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=400), places=st.lists(st.integers(0, 10**6), min_size=2, max_size=9))
def test_cuts_are_between_characters_and_keep_their_order(text: str, places: list[int]) -> None:
    utf_8 = text.encode()
    ordered = sorted(place % (len(utf_8) + 1) for place in places)
    cuts = [boundary_before(utf_8, p) if p < len(utf_8) else p for p in ordered]
    assert cuts == sorted(cuts)
    for place, cut in zip(ordered, cuts, strict=True):
        assert place - BOUNDARY_BYTES - 4 <= cut <= place
        utf_8[:cut].decode()


def test_a_cut_is_before_white_space() -> None:
    text = b"some words and\nlines"
    (excerpt,) = hold_out(documents([len(text)]), {0: 1.0}, {"val": 12})["val"]
    assert (excerpt.start, excerpt.stop) == (0, 12)
    assert at_boundaries(excerpt, len(text), text).stop == len("some words")
