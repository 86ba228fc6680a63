"""The tables of results: DataFrames under names with units, and one as text for a terminal.

No matplotlib here: `search/run.py` prints the experiments table with these too.
"""

from __future__ import annotations

import pandas as pd

from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.answer.frames import epochs_frame, trials_frame
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger, TrialRecord
from minigpt_search.search.results.labels import trial_label

_NO_REASON = {
    STOPPED: "ended early on purpose",
    DIVERGED: "a loss or gradient was not finite",
    FAILED: "no reason recorded",
}


def without_result(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """The stopped, diverged and failed trials: how far they came and why, and no loss."""
    trials = trials_frame(experiment, ledger)
    rows = [
        {
            "experiment": trial["experiment"],
            "status": trial["status"],
            "epochs_done": f"{trial['epochs_done']} of {trial['epochs']}",
            "total_seconds": trial["total_seconds"],
            "flop": trial["flop"],
            "reason": _NO_REASON[trial["status"]] if pd.isna(reason := trial["reason"]) else reason,
        }
        for trial in trials[trials["status"] != COMPLETE].to_dict("records")
    ]
    return pd.DataFrame(rows)


def by_epoch(experiment: Experiment, ledger: Ledger, trial: TrialRecord | None) -> pd.DataFrame:
    """A complete trial's epochs; improvement is the fall of perplexity since epoch 1."""
    frame = epochs_frame(experiment, ledger)
    frame = frame[frame["trial_id"] == (trial.trial_id if trial else None)]
    frame = frame.sort_values("epoch", ignore_index=True)
    perplexity = frame["val_perplexity"]
    improvement = 1 - perplexity / perplexity.iloc[0] if len(frame) else perplexity
    # The first epoch is what the others are compared with: no number of its own.
    frame["improvement"] = improvement.where(frame["epoch"] > 1)
    names = ["epoch", "train_loss_nats", "val_loss_nats", "val_perplexity", "improvement"]
    return frame[[*names, "lr_last", "grad_norm_mean", "steps_per_second"]]


def baseline_trial(experiment: Experiment, ledger: Ledger) -> TrialRecord | None:
    """The first complete trial of the configuration that the axes vary."""
    base = experiment.space.base.replace(seed=0)
    found = [trial for trial in ledger.complete() if trial.config.replace(seed=0) == base]
    return min(found, key=lambda trial: trial.replicate, default=None)


def reruns(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """Every rerun: whether the ledger's number came out again, and the test split's score."""
    labels = {
        trial.trial_id: trial_label(experiment, trial.config, trial.replicate)
        for trial in ledger.trials
    }
    rows = [
        {
            "experiment": labels.get(rerun.trial_id, rerun.trial_id),
            "ledger_val_loss_nats": rerun.ledger_val_loss_nats,
            "rerun_val_loss_nats": rerun.val_loss_nats,
            "same_bits": rerun.same_bits,
            "same_machine": rerun.same_machine,
            "test_loss_nats": rerun.test_loss_nats,
            "test_perplexity": rerun.test_perplexity,
            "test_bits_per_byte": rerun.test_bits_per_byte,
            "ended_at": rerun.ended_at,
        }
        for rerun in ledger.reruns
    ]
    return pd.DataFrame(rows)
