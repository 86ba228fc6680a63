"""What the quality rules look at in a text, counted for many texts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from minigpt_search.data.filtering.shingles import SHINGLE_WORDS, Hashes, combine
from minigpt_search.data.filtering.word_table import HAS_LETTER, Ints, Words, running_sum

PASSAGE_WORDS = 2 * SHINGLE_WORDS
"""The length of a passage whose repetition counts: a pair of shingles is the hash of one."""


@dataclass(frozen=True, kw_only=True)
class TextStatistics:
    """What the rules look at in one text."""

    text: str
    lines: list[str]
    """The lines that are not empty."""
    paragraphs: list[str]
    """The same, joined up to an empty one: a paragraph may stand on many lines."""
    words: Ints
    """(W,) The ids of the words: the same for the same word."""
    lengths: npt.NDArray[np.int32]
    """(W,) The characters of each word."""
    characters: int
    """The characters of all words."""
    with_letter: int
    """The number of words that hold a letter."""
    marks: int
    """The bits of `Words.marks` that any of the words has."""
    top_word: int
    """The most characters that all uses of one word make up."""
    shingles: Hashes
    """The hashes of its runs of five words, as `shingles` finds them."""
    repeated_passages: int
    """The number of runs of `PASSAGE_WORDS` words that came before in the text."""


def text_statistics(texts: Sequence[str], words: Words) -> list[TextStatistics]:
    """Find the statistics of each text. Counts are made for all texts at once, since each call of
    numpy has a fixed cost."""
    bounds = words.bounds
    characters = np.diff(running_sum(words.lengths)[bounds])
    with_letter = np.diff(running_sum(words.marks & HAS_LETTER != 0)[bounds])
    marks = np.bitwise_or.reduceat(np.append(words.marks, 0), bounds[:-1])
    top_words, repeats = _top_words(words), _repeats(words)
    return [
        TextStatistics(
            text=text,
            lines=[line for line in text.split("\n") if line],
            paragraphs=[own.replace("\n", " ") for own in text.split("\n\n") if own],
            words=words.ids[start:end],
            lengths=words.lengths[start:end],
            characters=int(characters[k]),
            with_letter=int(with_letter[k]),
            marks=int(marks[k]),
            top_word=int(top_words[k]),
            shingles=words.shingles[k],
            repeated_passages=repeats[k],
        )
        for k, (text, start, end) in enumerate(
            zip(texts, bounds.tolist(), bounds[1:].tolist(), strict=False)
        )
    ]


def _top_words(words: Words) -> Ints:
    """Find `TextStatistics.top_word` of each text, (N,)."""
    ordered = words.ids << 32 | words.lengths  # the lengths go along in sorting
    for start, end in pairwise(words.bounds.tolist()):
        ordered[start:end].sort()
    is_first = np.ones(len(ordered) + 1, np.bool_)  # of equal ones in a text; and a last one
    is_first[1:-1] = ordered[1:] != ordered[:-1]
    is_first[words.bounds] = True
    firsts = np.flatnonzero(is_first)
    products = np.append(np.diff(firsts) * (ordered[firsts[:-1]] & 0xFFFFFFFF), 0)
    return np.maximum.reduceat(products, np.searchsorted(firsts, words.bounds[:-1]))


def _repeats(words: Words) -> list[int]:
    """Find `TextStatistics.repeated_passages` of each of N texts."""
    passages = combine((words.runs[:-SHINGLE_WORDS], words.runs[SHINGLE_WORDS:]))
    slices = [
        slice(own.start, max(own.start, own.stop - SHINGLE_WORDS)) for own in words.run_slices
    ]
    for own in slices:
        passages[own].sort()
    same = running_sum(passages[1:] == passages[:-1])
    return [
        int(same[own.stop - 1] - same[own.start]) if own.start < own.stop else 0 for own in slices
    ]
