"""The tables of results: DataFrames under names with units.

No matplotlib here.
"""

from __future__ import annotations

import pandas as pd

from minigpt_search.search.records.ledger_records import RerunRecord, TrialRecord
from minigpt_search.search.results.configurations import without_seed
from minigpt_search.search.results.documents import level_over_documents
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.results.results import Results


def by_epoch(results: Results, trial: TrialRecord | None) -> pd.DataFrame:
    """A complete trial's epochs; improvement is the fall of perplexity since epoch 1."""
    frame = results.epochs_frame
    frame = frame[frame["trial_id"] == (trial.trial_id if trial else None)]
    frame = frame.sort_values("epoch", ignore_index=True)
    perplexity = frame["val_perplexity"]
    improvement = 1 - perplexity / perplexity.iloc[0] if len(frame) else perplexity
    # The first epoch is what the others are compared with: no number of its own.
    frame["improvement"] = improvement.where(frame["epoch"] > 1)
    names = ["epoch", "train_loss_nats", "val_loss_nats", "val_perplexity", "improvement"]
    return frame[[*names, "lr_last", "grad_norm_mean", "steps_per_second"]]


def baseline_trial(results: Results) -> TrialRecord | None:
    """The first complete trial of the configuration that the axes vary."""
    base = without_seed(results.experiment.space.base)
    same = (each for each in results.configurations if each.config == base)
    return next((trial for each in same for trial in each.complete), None)


def _on_other_text(rerun: RerunRecord) -> str | None:
    found = level_over_documents([rerun.test_documents] if rerun.test_documents else [])
    return None if found is None else f"{found.low:.3f} to {found.high:.3f}"


def reruns(results: Results) -> pd.DataFrame:
    """Every rerun: whether the ledger's number came out again, and the test split's score."""
    labels = {
        trial.trial_id: trial_label(results.experiment, trial.config, trial.replicate)
        for trial in results.trials
    }
    rows = [
        {
            "trial": labels.get(rerun.trial_id, rerun.trial_id),
            "ledger_val_loss_nats": rerun.ledger_val_loss_nats,
            "rerun_val_loss_nats": rerun.val_loss_nats,
            "same_bits": rerun.same_bits,
            "same_machine": rerun.same_machine,
            "test_loss_nats": rerun.test_loss_nats,
            "other_text_interval": _on_other_text(rerun),
            "test_perplexity": rerun.test_perplexity,
            "test_bits_per_byte": rerun.test_bits_per_byte,
            "ended_at": rerun.ended_at,
        }
        for rerun in results.reruns
    ]
    frame = pd.DataFrame(rows)
    known = any(rerun.test_documents for rerun in results.reruns)
    return frame if known else frame.drop(columns="other_text_interval", errors="ignore")
