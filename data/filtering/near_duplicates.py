"""Near-duplicates: MinHash signatures of word 5-grams, and an LSH index that is sorted, not stored.

Broder 1997, "On the resemblance and containment of documents"; 5-grams of words and a threshold
near 0.7-0.8 as in Lee et al. 2022 (arXiv 2107.06499). The hashes are of our own making, because the
corpus must be the same on two machines with two versions of a library: datasketch 2.0 changed its
signatures, and rensa numbers the versions of its own. The index reads one band of the signatures at
a time: its memory is 4 bytes for each band of a document (100 bytes), where an index of
dictionaries takes thousands.

Shapes: N documents, P permutations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from minigpt_search.data.filtering.shingles import Hashes, combine

Signatures = npt.NDArray[np.uint32]

BANDS = 25
ROWS = 5
"""Two documents of Jaccard similarity s meet in a band with probability 1 - (1 - s^5)^25: 0.99 at
0.7, 0.23 at 0.4. Those that meet are compared by their whole signatures."""
PERMUTATIONS = BANDS * ROWS
THRESHOLD = 0.7
"""Documents are near if their signatures agree in this share of the columns."""

_MULTIPLIERS = np.random.RandomState(20_221_122).randint(0, 2**63, PERMUTATIONS, np.uint64) * 2 + 1


def signatures(texts: Sequence[Hashes]) -> Signatures:
    """The MinHash signatures of texts given as their `shingles`, (N, P). The share of columns in
    which two rows agree is about the Jaccard similarity of the texts' sets of 5-grams."""
    starts = np.cumsum([0, *map(len, texts[:-1])])
    joined = np.concatenate(texts)
    product = np.empty_like(joined)
    rows = np.empty((len(texts), PERMUTATIONS), np.uint32)
    for column, multiplier in enumerate(_MULTIPLIERS):
        # for all texts at once: each call of numpy has a fixed cost
        np.multiply(joined, multiplier, out=product)
        rows[:, column] = np.minimum.reduceat(product, starts) >> np.uint64(32)
    return rows


def first_of_each(rows: Signatures) -> npt.NDArray[np.bool_]:
    """Whether to keep each document, (N,): those that are near to no earlier one that is kept.

    Args:
        rows: (N, P) signatures, may be a memory map.
    """
    groups = [_band_groups(rows[:, start : start + ROWS]) for start in range(0, PERMUTATIONS, ROWS)]
    meets = np.any([group >= 0 for group in groups], axis=0)
    keep = np.ones(len(rows), dtype=np.bool_)
    members: dict[tuple[int, int], list[int]] = {}
    for document in np.flatnonzero(meets).tolist():
        buckets = [
            (band, int(group[document]))
            for band, group in enumerate(groups)
            if group[document] >= 0
        ]
        earlier = sorted({other for bucket in buckets for other in members.get(bucket, ())})
        if earlier and _is_near(rows, document, earlier):
            keep[document] = False
            continue
        for bucket in buckets:
            members.setdefault(bucket, []).append(document)
    return keep


def _is_near(rows: Signatures, document: int, others: Sequence[int]) -> bool:
    agreement = (rows[others] == rows[document]).mean(axis=1)
    return bool((agreement >= THRESHOLD).any())


def _band_groups(band: Signatures) -> npt.NDArray[np.int32]:
    """The number of the group that shares each document's band, (N,); -1 where a document is alone
    in it."""
    keys = combine(list(band.astype(np.uint64).T))
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    return np.where(size[group] > 1, group, -1).astype(np.int32)
