"""Sums of a split's losses by document: what the noise of a level and of a difference is made of.

Shapes: N sequences that were scored, T tokens of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from minigpt_search.data.corpus.split_documents import SplitDocuments
from minigpt_search.model.records import DocumentLosses

MOST_GROUPS = 500
"""More documents than this are summed in so many groups, each of one source: a record is then at
most some 10 kB, and an interval from 500 groups is as wide as one from the documents."""


def losses_by_document(
    documents: SplitDocuments, windows: Tensor, token_losses: Sequence[Tensor]
) -> DocumentLosses:
    """The sums over each document of which something was scored, by source.

    Args:
        documents: of the split.
        windows: (N,) the indices of the sequences that were scored.
        token_losses: each token's loss, (B, T) of each batch, N sequences together.
    """
    losses = torch.cat(list(token_losses)).double().cpu().numpy()  # (N, T)
    of_target = documents.of_targets(windows.numpy(), losses.shape[1])
    scored, own = np.unique(of_target, return_inverse=True)
    source_of = documents.source_of()
    sources = np.array([source_of[document] for document in scored.tolist()])
    group = _groups(sources)
    in_group = group[own.reshape(-1)]
    groups = int(group.max()) + 1
    nats = np.bincount(in_group, weights=losses.reshape(-1), minlength=groups)
    source_of_group = np.zeros(groups, np.int64)
    source_of_group[group] = sources
    return DocumentLosses(
        nats=tuple(nats.round(4).tolist()),
        tokens=tuple(np.bincount(in_group, minlength=groups).tolist()),
        sources=tuple(source_of_group.tolist()),
    )


def _groups(sources: np.ndarray) -> np.ndarray:
    """The group of each document, whose source is given: itself where they are few. Which documents
    are in one is left to chance, as they stand in a split by a hash."""
    by_source = np.argsort(sources, kind="stable")
    group = np.empty(len(sources), np.int64)
    share = min(1.0, MOST_GROUPS / len(sources))
    first = 0
    for source in np.unique(sources):
        own = by_source[sources[by_source] == source]
        count = max(1, int(len(own) * share))
        group[own] = first + np.arange(len(own)) * count // len(own)
        first += count
    return group
