"""Documents out of text, whatever its separators and wherever it is cut: nothing lost or added."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.documents import Piece
from minigpt_search.data.sources.readers import pieces
from minigpt_search.data.sources.readers.pieces import PART_CHARACTERS, documents

Whole = Callable[[Any], list[str]]
SEPARATOR = "<|>"
PARTS = st.lists(
    st.sampled_from(["a", "\n", "\r", "\r\n", " ", "<", "|", SEPARATOR, "\u0301", "\u4e2d"])
)


def parted(text: str, separator: str) -> list[str]:
    """The documents of a text, found with all of it at hand: an expression for a separator with a
    line to itself, and that line's end, or for one elsewhere."""
    alone = rf"(?:(?<=\n)|(?<=\r)|\A)(?<!\r(?=\n)){re.escape(separator)}(?:\r\n|\r|\n|\Z)"
    return [part for part in re.split(f"{alone}|{re.escape(separator)}", text) if part]


@settings(max_examples=500, deadline=None)
@given(PARTS.map("".join), st.integers(1, 5))
@example("a\n<|>\r\nb<|>\nc", 1)
@example("<|><|>\n\n<|>", 2)
def test_a_separator_anywhere_ends_a_document(whole_documents: Whole, text: str, size: int) -> None:
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PART_CHARACTERS", 7)
        assert whole_documents(documents(chunks, SEPARATOR)) == parted(text, SEPARATOR)
        assert "".join(whole_documents(documents(chunks, None))) == text


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text(min_size=1, max_size=3), st.lists(st.integers(0, 50)))
def test_any_text_with_any_separator(
    whole_documents: Whole, text: str, separator: str, places: list[int]
) -> None:
    text = text.replace(separator, "")
    assert "".join(whole_documents(documents(text, None))) == text
    if separator in text or set(separator) & set("\r\n"):
        return
    for place in places:  # nothing but separators and the ends of their lines goes
        text = text[:place] + separator + text[place:]
    kept = "".join(whole_documents(documents(text, separator)))
    assert re.sub(r"[\r\n]", "", kept) == re.sub(r"[\r\n]", "", text.replace(separator, ""))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("a line of text\n" * 20_000, "\n"),
        ("a line of text\r\n" * 20_000, "\r\n"),
        ("a line of text\r" * 20_000, "\r"),
        ("words " * 50_000, " "),
        ("\u4e2d" * 150_000, "\u4e2d"),
        ("e" + "\u0301" * 150_000, "\u0301"),
    ],
)
def test_long_text_is_cut_where_it_hurts_least(text: str, end: str) -> None:
    found = list(documents([text], None))
    assert "".join(piece.text for piece in found) == text  # type: ignore[union-attr]
    for piece in found[:-1]:
        assert isinstance(piece, Piece) and not piece.ends and piece.text.endswith(end)
        assert PART_CHARACTERS / 2 < len(piece.text) <= PART_CHARACTERS
    assert isinstance(found[-1], Piece) and found[-1].ends


def test_no_cut_within_a_line_end_or_before_a_combining_mark() -> None:
    for odd in ("\r\n", "e\u0301"):
        text = "x" * (PART_CHARACTERS - 1) + odd + "x" * 10
        assert not any(str(piece[0]).startswith(odd[1]) for piece in documents([text], None))


def test_memory_does_not_grow_with_the_text(whole_documents: Whole) -> None:
    def chunks() -> Iterator[str]:
        for _ in range(400):
            yield "abcdefg \n" * 12_500

    tracemalloc.start()
    total = sum(len(piece.text) for piece in documents(chunks(), SEPARATOR))  # type: ignore[union-attr]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 400 * 9 * 12_500 and peak < 2_000_000
