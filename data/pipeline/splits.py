"""Which documents are for validation, for the test and for training, by hashes of their content.

Each document has a key, a hash of the seed and its text. Sorted by it, documents stand in an order
that is random but depends neither on the order in which they were read nor on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minigpt_search.data.corpus.spec import CorpusSpec

Ints = npt.NDArray[np.int64]

EVAL_SHARE_LIMIT = 0.05
"""The largest share of a corpus' tokens that validation and test get each, and of each source's: a
small source with a large weight would else be all in them, and nothing of it in train."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The documents of one split, in their order in the files."""

    documents: Ints
    """The documents' rows in the table."""
    lengths: Ints
    """The tokens taken of each, its separator included: fewer than it has where it is cut."""

    @property
    def tokens(self) -> int:
        """The tokens of the split, separators included."""
        return int(self.lengths.sum())


def choose_splits(
    spec: CorpusSpec,
    kept: Ints,
    lengths: Ints,
    keys: npt.NDArray[np.uint64],
    sources: Ints,
    groups: Ints,
    weights: Sequence[float] | None,
) -> tuple[dict[str, Selection], list[str]]:
    """Select the documents of each split, and say where less was there than was asked for.

    Validation and test take from every source in proportion (times its weight), at most
    `spec.eval_tokens` each. They are chosen first and do not depend on `spec.tokens`.

    Args:
        kept: (K,) the rows of the table that may be used. The next four arrays have an entry for
            each of its N rows.
        lengths: (N,) the tokens of each document.
        keys: (N,) the hash by which documents are sorted.
        sources: (N,) the index of each document's source.
        groups: (N,) the index of the `--source` that each document comes from.
        weights: the share of train tokens wanted of each group; None: all there is of each.

    There must be three documents or more.
    """
    order = kept[np.argsort(keys[kept], kind="stable")]
    shares = _source_shares(order, lengths, sources, groups, weights)
    eval_tokens = min(spec.eval_tokens, int(EVAL_SHARE_LIMIT * lengths[order].sum()))
    if weights is not None:
        # as many as the source that has the fewest for its share can give
        own = np.bincount(sources[order], weights=lengths[order])
        most = min(EVAL_SHARE_LIMIT * own[source] / share for source, share in shares.items())
        eval_tokens = min(eval_tokens, int(most))
    selections = {}
    for split in ("val", "test"):
        chosen = _sample(order, lengths, sources, shares, eval_tokens)
        selections[split] = Selection(documents=chosen, lengths=lengths[chosen])
        order = order[~np.isin(order, chosen)]
    selections["train"], notes = _train(spec, order, lengths, keys, groups, weights)
    return selections, notes


def _source_shares(
    order: Ints, lengths: Ints, sources: Ints, groups: Ints, weights: Sequence[float] | None
) -> dict[int, float]:
    """The share of tokens that validation and test take from each source; the sum is 1."""
    tokens = np.bincount(sources[order], weights=lengths[order])
    if weights is not None:
        group_tokens = np.bincount(groups[order], weights=lengths[order], minlength=len(weights))
        group_of = {int(sources[row]): int(groups[row]) for row in order}
        for source, group in group_of.items():
            tokens[source] *= weights[group] / group_tokens[group]  # a group's sum is its weight
    return {source: float(share) for source, share in enumerate(tokens / tokens.sum()) if share}


def _sample(
    order: Ints, lengths: Ints, sources: Ints, shares: dict[int, float], wanted: int
) -> Ints:
    """Choose documents of about `wanted` tokens, never more unless no document is that short. Those
    that do not fit are left for train: a document is never cut for validation or test."""
    chosen: list[int] = []
    for source, share in shares.items():
        budget = share * wanted
        room = budget
        for row in order[sources[order] == source].tolist():
            if lengths[row] <= room:
                chosen.append(row)
                room -= lengths[row]
            if room < 0.02 * budget:  # near enough; going on would favour short documents
                break
    chosen = chosen or [int(order[np.argmin(lengths[order])])]
    ranks = np.flatnonzero(np.isin(order, chosen))
    return order[ranks]


def _train(
    spec: CorpusSpec,
    order: Ints,
    lengths: Ints,
    keys: npt.NDArray[np.uint64],
    groups: Ints,
    weights: Sequence[float] | None,
) -> tuple[Selection, list[str]]:
    """Take each group's documents in order, up to its share of the tokens; the last one is cut."""
    if weights is None:  # one group that holds everything
        groups, weights = np.zeros_like(groups), [1.0]
        limit = spec.tokens
    else:
        limit = spec.tokens or _largest_mix(order, lengths, groups, weights)
    notes, rows, taken = [], [], []
    for group, weight in enumerate(weights):
        members = order[groups[order] == group]
        available = int(lengths[members].sum())
        wanted = available if limit is None else int(limit * weight / sum(weights))
        if available < wanted:
            notes.append(
                f"{spec.sources[group] if len(weights) > 1 else 'the sources'}: {available:,} "
                f"train tokens where {wanted:,} were asked for: all kept, none repeated"
            )
        before = np.cumsum(lengths[members]) - lengths[members]
        members, before = members[before < wanted], before[before < wanted]
        rows.append(members)
        taken.append(np.minimum(lengths[members], wanted - before))
    documents, cut = np.concatenate(rows), np.concatenate(taken)
    # the groups stand one after another here: their documents are mixed again by their keys
    mixed = np.argsort(keys[documents], kind="stable")
    return Selection(documents=documents[mixed], lengths=cut[mixed]), notes


def _largest_mix(order: Ints, lengths: Ints, groups: Ints, weights: Sequence[float]) -> int:
    """The most tokens with exactly the shares that `weights` ask for, nothing repeated."""
    tokens = np.bincount(groups[order], weights=lengths[order], minlength=len(weights))
    return int(min(tokens / np.array(weights)) * sum(weights))
