"""The word table against the plain rules: `str.split`, shingles, tiktoken, for any text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.filtering import word_table as words_module
from minigpt_search.data.filtering.shingles import SHINGLE_WORDS, combine, shingles
from minigpt_search.data.filtering.text_statistics import PASSAGE_WORDS, text_statistics
from minigpt_search.data.filtering.word_table import STOP_WORDS, WordTable
from minigpt_search.data.tokenizers.gpt2 import get_encoding

PIECES = ("the", "The", "a.b", "don't", "'s", "42", "3.5", "#", "\u00e9t\u00e9", "\u4e2d\u6587")
PIECES += (
    "\u03a3\u03a3",
    "Lorem",
    "ipsum",
    "{",
    "\u200d",
    "\U0001f600",
    "<|endoftext|>",
    "--",
    "\u0130",
)
SPACES = (
    " ",
    " ",
    " ",
    "\n",
    "\n\n",
    "  ",
    "\n\n\n",
    " \n",
    "\n ",
    "\t",
    "\xa0",
    "\x1c",
    "\u2028",
    "\r\n",
)

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from(PIECES + SPACES), max_size=30).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join),
)


@pytest.fixture(scope="module")
def table(shared_home: Path) -> WordTable:
    return WordTable(get_encoding(shared_home))


def check(table: WordTable, batch: list[str], encode: Callable[[str], list[int]]) -> None:
    """Compare everything that the table and the counts say of texts with plain Python."""
    found = table.look_up([text.encode() for text in batch])
    encoded = table.encode(batch, found.pieces)
    for index, (text, own) in enumerate(zip(batch, text_statistics(batch, found), strict=True)):
        words = text.split()
        assert encoded[index].tolist() == encode(text)
        assert found.shingles[index].tolist() == shingles(text).tolist()
        assert own.lengths.tolist() == [len(word) for word in words]
        numbers = own.words.tolist()
        assert len(set(zip(numbers, words, strict=True))) == len(set(words)) == len(set(numbers))
        assert own.characters == sum(map(len, words))
        assert own.with_letter == sum(any(map(str.isalpha, word)) for word in words)
        if words:  # a text without words fails the first rule, before these are looked at
            small = {word.lower() for word in words}
            bits = [bool(own.marks >> bit & 1) for bit in range(len(STOP_WORDS))]
            assert bits == [word in small for word in STOP_WORDS]
            assert own.top_word == max(len(word) * n for word, n in Counter(words).items())
        passages = repeats(own.shingles)
        assert own.repeated_passages == passages


def repeats(own: np.ndarray) -> int:
    if len(own) <= SHINGLE_WORDS:
        return 0
    assert PASSAGE_WORDS == 2 * SHINGLE_WORDS
    runs = combine((own[:-SHINGLE_WORDS], own[SHINGLE_WORDS:])).tolist()
    return len(runs) - len(set(runs))


@settings(max_examples=400, deadline=None)
@given(st.lists(texts, min_size=1, max_size=6))
def test_any_texts(table: WordTable, batch: list[str]) -> None:
    check(table, batch, get_plain(table))


def get_plain(table: WordTable) -> Callable[[str], list[int]]:
    return table._encoding.encode_ordinary


def test_prose(table: WordTable, make_prose: Callable[..., str]) -> None:
    check(table, [make_prose(number) for number in range(20)], get_plain(table))
    again = [make_prose(number) for number in range(10)]
    check(table, ["\n".join(again), *again], get_plain(table))
    assert all(
        pieces is not None for pieces in table.look_up([text.encode() for text in again]).pieces
    )


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(words_module, "PIECES_LIMIT", 40)
    yield


def test_a_full_table_begins_anew(
    table: WordTable, small_limit: None, make_prose: Callable[..., str]
) -> None:
    sizes = []
    for number in range(8):
        batch = [make_prose(number, sentences=4), f"word{number} " * 9]
        check(table, batch, get_plain(table))
        sizes.append(len(table._ids))
    assert any(later < earlier for earlier, later in pairwise(sizes))
    assert max(sizes[1:]) < 40 + 120
