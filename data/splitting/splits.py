"""Which text is for validation, for the test and for training, by hashes of the documents.

Each row of the table has a key, a hash of the seed and its text. What is chosen by it is random but
depends neither on the order in which documents were read nor on the machine nor on the tokenizer.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.splitting.holdout import (
    Documents,
    Excerpt,
    at_boundaries,
    hold_out,
)
from minigpt_search.data.splitting.repetition import document_keys

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

EVAL_SHARE_LIMIT = 0.05
"""The largest share of a corpus' text that validation and test get each, and of each source's: a
small source with a large weight would else be all in them, and nothing of it in train."""
BYTES_PER_TOKEN = 4
"""How much text stands for a token in `--eval-tokens`, whatever the tokenizer. English has 4.8 with
GPT-2's."""
SMALLEST_SPLIT_BYTES = 1_024
"""A small corpus gives more than its share for a split of this size, but at most an eighth."""
LEAST_BYTES = 2_048
"""The text of the smallest corpus: an eighth of it is some 60 tokens."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces of text, each of one row of the table, in the order in which they stand in a split."""

    rows: Ints
    """(M,) The row of each."""
    starts: Ints
    """(M,) Where it begins, in bytes of the row's text."""
    stops: Ints
    """(M,) Where it ends."""
    closes: Flags
    """(M,) Whether a separator follows."""
    numbers: Ints
    """(M,) The number of the document that it belongs to."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """The size of their text."""
        return int((self.stops - self.starts).sum())

    @property
    def documents(self) -> int:
        """How many documents they are of."""
        return len(np.unique(self.numbers))

    def take(self, chosen: Ints | Flags) -> Pieces:
        """Some of them, in the order of the indices."""
        return Pieces(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    def content_hash(self, keys: npt.NDArray[np.uint64]) -> str:
        """The SHA-256 (hexadecimal) of what text they are, by the rows' keys (N,): the same under
        any tokenizer."""
        digest = hashlib.sha256()
        for column in (keys[self.rows], self.starts, self.stops, self.closes):
            digest.update(column.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The splits that are not for training, and what is left for it."""

    splits: dict[str, Pieces]
    """Those of `val` and `test`."""
    train: Pieces
    """All that may be trained on, in the order of training."""
    unused: int
    """The bytes around excerpts that are in no split; of text that is for validation alone, what is
    not used has a note of its own."""
    notes: list[str]
    """What the user should know."""


def choose_held_out(
    spec: CorpusSpec,
    documents: Documents,
    is_validation: Flags,
    groups: Ints,
    weights: Sequence[float] | None,
    text_of: Callable[[int], bytes],
) -> HeldOut:
    """Choose validation and test, and arrange the rest for training.

    Both take from every source in proportion (times its weight). They depend neither on
    `spec.tokens` nor on the tokenizer.

    Args:
        documents: the rows that may be used; the next two arrays have an entry for each, (K,).
        is_validation: whether its source is the text for validation, and nothing else.
        groups: the index of the `--source` that each comes from.
        weights: the share of train tokens wanted of each group; None: all there is of each.
        text_of: gives the text of a row of the table, in UTF-8.

    Raises:
        UserError: there is too little text.
    """
    ordinary = documents.take(~is_validation)
    total = int(ordinary.sizes.sum())
    if total < LEAST_BYTES:
        raise UserError(
            f"--source: {total:,} bytes of text are left, too few for training, validation and "
            f"test: give at least {LEAST_BYTES:,}"
        )
    shares = _source_shares(ordinary, groups[~is_validation], weights)
    budgets = _budgets(spec, ordinary, shares, has_validation=bool(is_validation.any()))
    notes = _notes_on_budgets(spec, budgets, total)
    chosen = hold_out(ordinary, shares, budgets)
    if is_validation.any():
        own = documents.take(is_validation)
        chosen["val"], more = _from_validation(spec, own)
        notes += more
    exact = {
        split: [_exact(excerpt, documents, text_of) for excerpt in excerpts]
        for split, excerpts in chosen.items()
    }
    held = [excerpt for excerpts in exact.values() for excerpt in excerpts]
    train = _rest(ordinary, held)
    splits = {split: _pieces(exact[split], documents) for split in ("val", "test")}
    is_own = bool(is_validation.any())
    used = train.bytes + splits["test"].bytes + (0 if is_own else splits["val"].bytes)
    return HeldOut(
        splits=splits,
        train=train,
        unused=total - used,
        notes=notes,
    )


def _source_shares(
    documents: Documents, groups: Ints, weights: Sequence[float] | None
) -> dict[int, float]:
    """The share of the text that validation and test take from each source; the sum is 1."""
    sizes = np.bincount(documents.sources, weights=documents.sizes.astype(float))
    if weights is not None:
        group_sizes = np.bincount(groups, weights=documents.sizes, minlength=len(weights))
        group_of = dict(zip(documents.sources.tolist(), groups.tolist(), strict=True))
        for source, group in group_of.items():
            # a group's sum is its weight
            sizes[source] = sizes[source] * weights[group] / group_sizes[group]
    return {source: float(share) for source, share in enumerate(sizes / sizes.sum()) if share}


def _budgets(
    spec: CorpusSpec, documents: Documents, shares: Mapping[int, float], has_validation: bool
) -> dict[str, int]:
    """The bytes wanted of validation and test."""
    total = int(documents.sizes.sum())
    limit = max(EVAL_SHARE_LIMIT * total, min(SMALLEST_SPLIT_BYTES, total / 8))
    own = np.bincount(documents.sources, weights=documents.sizes)
    # as many as the source that has the fewest for its share can give
    scarce = min(own[source] / share / total for source, share in shares.items())
    budget = int(min(spec.eval_tokens * BYTES_PER_TOKEN, limit * scarce))
    validation = budget
    if spec.validation_share is not None:
        validation = int(spec.validation_share * total * scarce)
    return {"val": 0 if has_validation else validation, "test": budget}


def _notes_on_budgets(spec: CorpusSpec, budgets: Mapping[str, int], total: int) -> list[str]:
    if budgets["test"] <= EVAL_SHARE_LIMIT * total:
        return []
    return [
        f"caution: {total:,} bytes are a small corpus: validation and test have "
        f"{budgets['test']:,} bytes each, so that losses say little"
    ]


def _from_validation(spec: CorpusSpec, documents: Documents) -> tuple[list[Excerpt], list[str]]:
    """Excerpts of the text for validation: all of it, where `--eval-tokens` allows that."""
    total = int(documents.sizes.sum())
    budget = spec.eval_tokens * BYTES_PER_TOKEN
    if total <= budget:
        whole = [
            Excerpt(row=row, number=number, start=0, stop=size, held_from=0, held_to=size)
            for row, number, size in zip(
                documents.rows.tolist(),
                documents.numbers.tolist(),
                documents.sizes.tolist(),
                strict=True,
            )
        ]
        return whole, []
    sizes = np.bincount(documents.sources, weights=documents.sizes)
    shares = {source: float(size / total) for source, size in enumerate(sizes) if size}
    note = (
        f"--validation {spec.validation}: {budget:,} of its {total:,} bytes are used, as "
        f"--eval-tokens {spec.eval_tokens} says ({BYTES_PER_TOKEN} bytes a token)"
    )
    return hold_out(documents, shares, {"val": budget})["val"], [note]


def _exact(excerpt: Excerpt, documents: Documents, text_of: Callable[[int], bytes]) -> Excerpt:
    size = int(documents.sizes[np.searchsorted(documents.rows, excerpt.row)])
    if (excerpt.start, excerpt.stop) == (0, size):
        return excerpt
    return at_boundaries(excerpt, size, text_of(excerpt.row))


def _pieces(excerpts: Sequence[Excerpt], documents: Documents) -> Pieces:
    """The pieces of excerpts. A separator follows those that reach the end of their document."""
    excerpts = [each for each in excerpts if each.start < each.stop]
    rows = np.array([each.row for each in excerpts], np.int64)
    stops = np.array([each.stop for each in excerpts], np.int64)
    index = np.searchsorted(documents.rows, rows)
    numbers = documents.numbers[index]
    after = np.append(documents.numbers, -1)[index + 1]
    return Pieces(
        rows=rows,
        starts=np.array([each.start for each in excerpts], np.int64),
        stops=stops,
        closes=(stops == documents.sizes[index]) & (numbers != after),
        numbers=numbers,
    )


def _rest(documents: Documents, held: Sequence[Excerpt]) -> Pieces:
    """All that is not held out, by documents in the order of their keys. A separator follows where
    a document ends, and where something of it is missing."""
    gaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for each in held:
        gaps[each.row].append((each.held_from, each.held_to))
    whole = ~np.isin(documents.rows, list(gaps))
    size_of = dict(zip(documents.rows.tolist(), documents.sizes.tolist(), strict=True))
    left: list[tuple[int, int, int]] = []
    for row, own in gaps.items():
        if row in size_of:  # else it is of a source that is for validation alone
            edges = [0, *(edge for gap in sorted(own) for edge in gap), size_of[row]]
            parts = zip(edges[::2], edges[1::2], strict=True)
            left += [(row, start, stop) for start, stop in parts if start < stop]
    extra = np.array(left, np.int64).reshape(-1, 3)
    rows = np.append(documents.rows[whole], extra[:, 0])
    starts = np.append(np.zeros(whole.sum(), np.int64), extra[:, 1])
    stops = np.append(documents.sizes[whole], extra[:, 2])
    index = np.searchsorted(documents.rows, rows)
    keys = document_keys(documents.keys, documents.numbers)[index]
    order = np.lexsort((starts, rows, keys))
    rows, starts, stops, index = rows[order], starts[order], stops[order], index[order]
    numbers = documents.numbers[index]
    follows = np.zeros(len(rows), np.bool_)  # the next piece is the text that comes next
    follows[:-1] = (
        (numbers[1:] == numbers[:-1])
        & (rows[1:] == rows[:-1] + 1)
        & (starts[1:] == 0)
        & (stops[:-1] == documents.sizes[index[:-1]])
    )
    return Pieces(rows=rows, starts=starts, stops=stops, closes=~follows, numbers=numbers)
