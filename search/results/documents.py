"""How far a loss holds for other text of its kind: intervals over the documents of a split.

Documents are what was drawn, tokens of one belong together (Miller 2024, arXiv 2411.00640, on
clustered questions). A level has an interval of its own, a difference of two models a paired one,
which is narrower by far: what is hard in a document is hard for both. No torch, no Ray.

A mean over tokens is a ratio of two sums over documents. Its standard error is that of a ratio
(Cochran 1977, section 6.4), with a t-quantile: between 10 and 300 documents drawn from a validation
split's 274 it covers 92% to 96% for 95%, a bootstrap over documents 87% to 96%
(`tests/search/results/test_documents.py` has the simulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import DocumentLosses
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.statistics import CONFIDENCE, t_quantile

LEAST_DOCUMENTS = 10
"""Fewer say too little of others for an interval."""


@dataclass(frozen=True, kw_only=True)
class OverDocuments:
    """A loss, or a difference of losses, with its interval over documents, in nats a token."""

    documents: int
    mean: float
    error: float
    """The standard error."""
    low: float
    high: float


def level_over_documents(seeds: Sequence[DocumentLosses]) -> OverDocuments | None:
    """The mean loss of one configuration's seeds (at least one) for other text of this kind.

    None where documents are too few, or the seeds weren't scored on the same ones.
    """
    nats = _mean_nats(seeds)
    return None if nats is None else _ratio(nats, seeds[0].tokens)


def difference_over_documents(
    one: Sequence[DocumentLosses], other: Sequence[DocumentLosses]
) -> OverDocuments | None:
    """By how much the loss of `one` is above that of `other`, each the mean of its seeds, on other
    text of this kind; paired by document. None as for a level."""
    first, second = _mean_nats(one), _mean_nats(other)
    if first is None or second is None or one[0].tokens != other[0].tokens:
        return None
    return _ratio([a - b for a, b in zip(first, second, strict=True)], one[0].tokens)


def on_other_text(seeds: Sequence[DocumentLosses]) -> str:
    """`on other text of this kind 7.13 to 7.45 (150 documents; what another seed changes comes on
    top)`, or that there are too few documents; nothing where they aren't known, or not the same."""
    if (known := level_over_documents(seeds)) is not None:
        return (
            f"on other text of this kind {known.low:.2f} to {known.high:.2f} "
            f"({counted(known.documents, 'document')}; what another seed changes comes on top)"
        )
    if seeds and 0 < (documents := len(seeds[0].tokens)) < LEAST_DOCUMENTS:
        few = f"{counted(documents, 'document')}, fewer than {LEAST_DOCUMENTS}"
        return f"on other text of this kind it can't be told ({few})"
    return ""


def documents_of(trials: Sequence[TrialRecord]) -> list[DocumentLosses]:
    """The losses by document of complete trials that have them."""
    return [trial.val_documents for trial in trials if trial.val_documents is not None]


def of_source(losses: DocumentLosses, source: int) -> DocumentLosses:
    """Those of the documents of one source."""
    own = [index for index, each in enumerate(losses.sources) if each == source]
    return DocumentLosses(
        nats=tuple(losses.nats[index] for index in own),
        tokens=tuple(losses.tokens[index] for index in own),
        sources=tuple(source for _ in own),
    )


def _mean_nats(seeds: Sequence[DocumentLosses]) -> list[float] | None:
    """Each document's sum, the mean over the seeds; None if they have not the same documents."""
    if not seeds or any(each.tokens != seeds[0].tokens for each in seeds):
        return None
    return [math.fsum(own) / len(own) for own in zip(*(each.nats for each in seeds), strict=True)]


def _ratio(nats: Sequence[float], tokens: Sequence[int]) -> OverDocuments | None:
    n, total = len(tokens), sum(tokens)
    if n < LEAST_DOCUMENTS:
        return None
    mean = math.fsum(nats) / total
    squares = math.fsum((own - mean * size) ** 2 for own, size in zip(nats, tokens, strict=True))
    error = math.sqrt(n / (n - 1) * squares) / total
    half = t_quantile(0.5 + CONFIDENCE / 2, n - 1) * error
    return OverDocuments(documents=n, mean=mean, error=error, low=mean - half, high=mean + half)
