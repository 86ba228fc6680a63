"""Runs of words as 64-bit hashes, the same on every machine and in every version of a library."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHINGLE_WORDS = 5

Hashes = npt.NDArray[np.uint64]

_MARK = re.compile(r"[^\w\x00-\x7f]")
_MARKS_TO_SPACES = bytes(
    byte if byte >= 0x80 or chr(byte).isalnum() or byte in b"_\n" else ord(" ")
    for byte in range(256)
)
_LONGEST = 16  # the most columns of `combine`
_POSITIONS = np.array([pow(0x9E3779B97F4A7C15, k + 1, 2**64) for k in range(_LONGEST)], np.uint64)


def shingles(text: str) -> Hashes:
    """Hash each run of five words of `text`. Case and punctuation do not count.

    This is the rule; `data/filtering/word_table.py` finds the same for many texts at once.
    """
    return shingle_hashes(word_hashes(text), SHINGLE_WORDS)


def word_hashes(text: str) -> Hashes:
    """Hash each word of `text`, (W,). Case and punctuation do not count."""
    words = split_words(text)
    return mix(np.fromiter(map(zlib.crc32, words), np.uint64, len(words)))


def split_words(text: str) -> list[bytes]:
    r"""What `re.findall(r"\w+", text.lower())` finds, as UTF-8, in a third of the time."""
    return _without_marks(text).split()


def split_words_of_each(texts: Sequence[str]) -> list[list[bytes]]:
    """Do what `split_words` does for each of many short texts of one line."""
    return [line.split() for line in _without_marks("\n".join(texts)).split(b"\n")]


def _without_marks(text: str) -> bytes:
    """Put `text` into small letters, UTF-8, with spaces for all but words and line ends."""
    text = text.lower()
    if not text.isascii():
        for mark in set(_MARK.findall(text)):
            text = text.replace(mark, " ")
    return text.encode().translate(_MARKS_TO_SPACES)


def shingle_hashes(words: Hashes, size: int) -> Hashes:
    """Hash each run of `size` words, (max(1, W - size + 1),). A shorter text is one run."""
    if len(words) < size:
        words = np.pad(words, (0, size - len(words)))
    runs = len(words) - size + 1
    return combine([words[first : first + runs] for first in range(size)])


def combine(columns: Sequence[Hashes]) -> Hashes:
    """Make one hash, (N,), of each row of up to 16 columns of hashes, (N,) each. The columns' order
    counts."""
    total = columns[0] * _POSITIONS[0]
    for column, position in zip(columns[1:], _POSITIONS[1:], strict=False):
        total += column * position
    return mix(total)


def mix(values: Hashes) -> Hashes:
    """Spread the bits of each value over 64 (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
