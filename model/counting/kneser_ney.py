"""N-gram models with modified Kneser-Ney smoothing, interpolated: Chen & Goodman 1999, section 3.

Everything is sorted arrays of numpy: ten million tokens are counted in seconds.

Shapes: N windows of text, T tokens that each predicts, so T + 1 tokens of one; G different n-grams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Of n-grams seen once, twice, and three times or more, where the text is too short or too regular
to estimate them: those of KenLM's --discount_fallback (Heafield et al. 2013)."""
LARGEST_VOCABULARY = 2_000_000
"""A trigram's three ids make one number of 63 bits."""


class KneserNey:
    """An n-gram model, made from windows of text.

    No n-gram reaches over a window's end: the model sees of a text what a network with a context of
    T tokens sees of it, or less.
    """

    def __init__(self, windows: Ints, vocab_size: int, order: int) -> None:
        """
        Args:
            windows: (N, T + 1) the ids of the text that is counted.
            vocab_size: how many ids there are, at most `LARGEST_VOCABULARY`.
            order: 1 (unigram) or more; the tokens of an n-gram.
        """
        assert order >= 1 and vocab_size**order < 2**63
        self.vocab_size, self.order = vocab_size, order
        keys, counts = np.unique(_grams(windows, vocab_size, order), return_counts=True)
        self.levels = [_Level(keys, counts.astype(np.int64), vocab_size)]
        for _ in range(order - 1):
            # Below the highest order a gram counts as often as there are tokens that precede it.
            size = vocab_size ** (order - len(self.levels))
            keys, counts = np.unique(self.levels[0].keys % size, return_counts=True)
            self.levels.insert(0, _Level(keys, counts.astype(np.int64), vocab_size))

    def probabilities(self, grams: Ints) -> Floats:
        """The probability (M,) of the last token of each gram (M, order) after the others."""
        found = np.full(len(grams), 1 / self.vocab_size)
        for level, size in zip(self.levels, range(1, self.order + 1), strict=True):
            found = level.interpolated(_keys(grams[:, -size:], self.vocab_size), found)
        return found


@dataclass
class _Level:
    """The n-grams of one order, with their discounted counts and what each context leaves over."""

    keys: Ints
    """(G,) ascending."""
    counts: Ints
    """(G,) of each of them."""
    vocab_size: int

    def __post_init__(self) -> None:
        discounts = np.array([0.0, *discounts_of(self.counts)])
        taken = discounts[np.minimum(self.counts, 3)]
        self.contexts, starts = np.unique(self.keys // self.vocab_size, return_index=True)
        if not len(self.keys):
            self.totals, self.left_over = np.zeros(0), np.zeros(0)
            return
        self.totals = np.add.reduceat(self.counts, starts).astype(np.float64)
        self.left_over = np.add.reduceat(taken, starts) / self.totals
        self.discounted = self.counts - taken

    def interpolated(self, keys: Ints, lower: Floats) -> Floats:
        """The probability of each gram of `keys` (M,), where the order below gives it `lower`."""
        context, known = _find(self.contexts, keys // self.vocab_size)
        gram, seen = _find(self.keys, keys)
        own = np.where(seen, self.discounted[gram], 0.0) / self.totals[context]
        return np.where(known, own + self.left_over[context] * lower, lower)


def discounts_of(counts: Ints) -> tuple[float, float, float]:
    """What is taken from a count of 1, of 2, and of 3 or more, by the counts of counts (equation 26
    of Chen & Goodman 1999); `FALLBACK_DISCOUNTS` where they give no valid ones."""
    n = [int(np.count_nonzero(counts == times)) for times in range(1, 5)]
    if not all(n):
        return FALLBACK_DISCOUNTS
    y = n[0] / (n[0] + 2 * n[1])
    found = tuple(times - (times + 1) * y * n[times] / n[times - 1] for times in (1, 2, 3))
    valid = all(0 <= taken <= times for times, taken in enumerate(found, start=1))
    return found if valid else FALLBACK_DISCOUNTS  # type: ignore[return-value]


def _grams(windows: Ints, vocab_size: int, order: int) -> Ints:
    """The keys of all n-grams of `order` tokens within the windows whose last token is predicted;
    a unigram counts each predicted token once."""
    first = 1 if order == 1 else 0
    width = windows.shape[1] - first - order + 1
    key = np.zeros((len(windows), max(width, 0)), dtype=np.int64)
    for offset in range(order):
        key *= vocab_size
        key += windows[:, first + offset : first + offset + width]
    return key.reshape(-1)


def _keys(grams: Ints, vocab_size: int) -> Ints:
    key = np.zeros(len(grams), dtype=np.int64)
    for column in grams.T:
        key = key * vocab_size + column
    return key


def _find(ascending: Ints, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each of `keys` is, and whether it is there at all (else the place is any)."""
    place = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return place, ascending[place] == keys
