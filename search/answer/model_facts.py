"""What a rerun says of its model in the card of an export (`model/model_card.py`)."""

from __future__ import annotations

import math
from typing import Any

from minigpt_search.model.model_card import ModelFacts, SplitLoss, TextSource
from minigpt_search.model.records import DocumentLosses
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import RerunRecord, TrialRecord
from minigpt_search.search.results.documents import level_over_documents
from minigpt_search.search.results.labels import trial_label


def model_facts(
    experiment: Experiment,
    trials: int,
    trial: TrialRecord,
    rerun: RerunRecord,
    test_evaluations: int,
    prompt: str,
    sample: str,
) -> ModelFacts:
    """The facts of the model that `rerun` made of `trial`, which is complete.

    Args:
        trials: how many complete ones the search chose from.
        test_evaluations: of this test split so far, this one included.
        sample: `prompt` and what the model wrote after it.
    """
    ratio = rerun.val_loss_nats / trial.final.val_loss_nats
    return ModelFacts(
        experiment=experiment.name,
        label=trial_label(experiment, trial.config, trial.replicate),
        trials=trials,
        corpus=experiment.corpus.name,
        corpus_hash=experiment.corpus.content_hash,
        sources=tuple(_source(raw) for raw in experiment.corpus.manifest["sources"]),
        validation=_loss(
            rerun.val_loss_nats,
            trial.final.val_bits_per_byte * ratio,
            # The documents' losses are the trial's: those of the rerun if it has the same bits.
            trial.val_documents if rerun.same_bits else None,
        ),
        test=_loss(rerun.test_loss_nats, rerun.test_bits_per_byte, rerun.test_documents),
        test_evaluations=test_evaluations,
        prompt=prompt,
        sample=sample,
    )


def _loss(nats: float, bits_per_byte: float, documents: DocumentLosses | None) -> SplitLoss:
    known = level_over_documents([documents] if documents else [])
    return SplitLoss(
        nats=nats,
        perplexity=math.exp(min(nats, 700.0)),  # more is no float
        bits_per_byte=bits_per_byte,
        low=known.low if known else None,
        high=known.high if known else None,
        documents=known.documents if known else None,
    )


def _source(raw: dict[str, Any]) -> TextSource:
    return TextSource(
        title=raw.get("title") or raw["name"],
        licence=raw.get("licence", ""),
        attribution=raw.get("attribution", ""),
        url=raw.get("url", ""),
        tokens=raw["tokens"],
        is_builtin=bool(raw.get("package")),
    )
