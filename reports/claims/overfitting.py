"""The claim of no overfitting: validation loss does not rise again, and the text that was trained
on is scored hardly better than validation at the end, both without dropout.

The mean training loss of an epoch is no such score: it has dropout, and earlier weights. The two
texts are other documents, so the noise of validation's loss over them is in the gap's error, and
where it isn't known the gap settles nothing. That of training's windows, from all over the corpus,
is small beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minigpt_search.reports.claims.evidence import Evidence, Finding
from minigpt_search.reports.claims.noise import NOT_RUN, NOTHING_KNOWN, UNTOLD, Noisy, all_of
from minigpt_search.reports.claims.recipe import TOLERANCE
from minigpt_search.search.answer.advice import RISE_NATS
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.documents import documents_of, level_over_documents

NOT_SCORED = "the text that it trained on was not scored without dropout"
UNKNOWN_NOISE = ", with too few documents to tell how much of it is chance"


def no_overfitting(evidence: Evidence) -> Finding:
    """Validation ends less than `RISE_NATS` above each epoch before, and less than 10% of
    perplexity above the text that was trained on."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    rises = [_rise(evidence, trials, before) for before in range(len(trials[0].epochs) - 1)]
    parts = [rise.below(RISE_NATS) for rise in rises]
    texts = []
    if rises:
        highest = max(rises, key=lambda rise: rise.mean)
        texts.append(
            f"validation ends {highest.interval.text('{:+.3f}')} nats from epoch "
            f"{rises.index(highest) + 1}, the lowest before"
        )
    gap = _gap(evidence, trials)
    documents = level_over_documents(documents_of(trials))
    if gap is not None and documents is not None:
        gap = gap.plus_error(documents.error, documents.documents - 1)
        parts.append(gap.below(math.log1p(TOLERANCE)))
    else:
        parts.append(NOTHING_KNOWN)
    if gap is None:
        texts.append(NOT_SCORED)
    else:
        texts.append(
            f"{gap.interval.text('{:+.3f}')} from the text that it trained on, both without dropout"
            f"{'' if documents else UNKNOWN_NOISE}"
        )
    return Finding(
        claimed=all_of(parts),
        missing=UNTOLD if NOTHING_KNOWN in parts else None,
        measured=f"{', '.join(texts)} (seeds {len(trials)})",
    )


def _rise(evidence: Evidence, trials: Sequence[TrialRecord], before: int) -> Noisy:
    return evidence.within_runs(
        trials, lambda trial: trial.final.val_loss_nats - trial.epochs[before].val_loss_nats
    )


def _gap(evidence: Evidence, trials: Sequence[TrialRecord]) -> Noisy | None:
    """Validation less training loss, both of the last weights and without dropout; None where one
    of the trials was not scored on its training text."""
    known = {trial.trial_id: _gap_of(evidence, trial) for trial in trials}
    gaps = {name: gap for name, gap in known.items() if gap is not None}
    if len(gaps) < len(trials):
        return None
    return evidence.within_runs(trials, lambda trial: gaps[trial.trial_id])


def _gap_of(evidence: Evidence, trial: TrialRecord) -> float | None:
    """The gap of the trial, or else of its newest rerun; None where neither was scored."""
    if trial.train_eval_loss_nats is not None:
        return trial.final.val_loss_nats - trial.train_eval_loss_nats
    for rerun in reversed(evidence.reruns):
        if rerun.trial_id == trial.trial_id and rerun.train_eval_loss_nats is not None:
            return rerun.val_loss_nats - rerun.train_eval_loss_nats
    return None
