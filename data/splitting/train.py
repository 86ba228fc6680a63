"""How much of the text that may be trained on is: as many tokens as asked for, by weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from minigpt_search.data.corpus.spec import CorpusSpec

Ints = npt.NDArray[np.int64]

WORTH_SAYING = 0.001
"""The share of a source's train tokens that may be left out without a line: shares are rounded."""


def choose_train(
    spec: CorpusSpec,
    lengths: Ints,
    groups: Ints,
    weights: Sequence[float] | None,
) -> tuple[Ints, Ints, list[str]]:
    """Take each group's pieces in order, up to its share of the tokens; the last one is cut.

    Args:
        lengths: (M,) the tokens of each piece that may be trained on, its separator included.
        groups: (M,) the index of the `--source` that each comes from.
        weights: the share of train tokens wanted of each group; None: all there is of each.

    Returns the indices of the pieces taken, how many tokens of each, and what the user should know.
    """
    if weights is None:  # one group that holds everything
        groups, weights = np.zeros_like(groups), [1.0]
        limit = spec.tokens
    else:
        limit = spec.tokens or _largest_mix(lengths, groups, weights)
    notes, chosen, taken = [], [], []
    for group, weight in enumerate(weights):
        members = np.flatnonzero(groups == group)
        available = int(lengths[members].sum())
        wanted = available if limit is None else int(limit * weight / sum(weights))
        if available < wanted:
            notes.append(
                f"{spec.sources[group] if len(weights) > 1 else 'the sources'}: {available:,} "
                f"train tokens where {wanted:,} were asked for: all kept, none repeated"
            )
        elif wanted + WORTH_SAYING * available < available:
            name = spec.sources[group] if len(weights) > 1 else "the sources"
            asked = f"--tokens {spec.tokens}" if spec.tokens is not None else "the weights"
            notes.append(f"{name}: {wanted:,} of {available:,} train tokens are used, by {asked}")
        before = np.cumsum(lengths[members]) - lengths[members]
        members, before = members[before < wanted], before[before < wanted]
        chosen.append(members)
        taken.append(np.minimum(lengths[members], wanted - before))
    indices, cut = np.concatenate(chosen), np.concatenate(taken)
    mixed = np.argsort(indices)  # the groups stand one after another here
    return indices[mixed], cut[mixed], notes


def _largest_mix(lengths: Ints, groups: Ints, weights: Sequence[float]) -> int:
    """The most tokens with exactly the shares that `weights` ask for, nothing repeated."""
    tokens = np.bincount(groups, weights=lengths, minlength=len(weights))
    return int(min(tokens / np.array(weights)) * sum(weights))
