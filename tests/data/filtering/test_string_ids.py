"""Ids of strings against a dictionary."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.filtering.string_ids import StringIds

# of all lengths about the limits of a key's words, with zero bytes, which also fill a key up
strings = st.lists(
    st.one_of(st.binary(max_size=18), st.text("ab\0", max_size=18).map(str.encode)), max_size=40
)


def check(ids: StringIds, known: dict[bytes, int], batch: list[bytes]) -> None:
    """Look `batch` up, and compare with the ids of the strings before, which it adds to."""
    ends = np.cumsum([0, *map(len, batch)])[1:]
    starts = ends - np.array([len(string) for string in batch], np.int64)
    before = len(known)
    found, new = ids.look_up(b"".join(batch), starts.astype(np.int64), ends)
    known |= {batch[index]: before + rank for rank, index in enumerate(new.tolist())}
    assert len(known) == len(ids) == before + len(new)
    assert found.tolist() == [known[string] for string in batch]


@given(st.lists(strings, max_size=4))
@settings(max_examples=100, deadline=None)
def test_same_id_for_the_same_string(batches: list[list[bytes]]) -> None:
    ids, known = StringIds(), dict[bytes, int]()
    for batch in batches:
        check(ids, known, batch)


def test_more_than_the_table_holds_at_first() -> None:
    ids, known = StringIds(), dict[bytes, int]()
    chooser = random.Random(0)
    for _ in range(3):
        check(ids, known, [b"%x" % chooser.getrandbits(72) for _ in range(50_000)])
        check(ids, known, chooser.sample(list(known), 1_000))
    assert len(known) > 100_000
