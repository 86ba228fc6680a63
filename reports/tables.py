"""The tables of results: DataFrames under names with units, and one as text for a terminal.

No matplotlib here: `search/run.py` prints the experiments table with these too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from reports.columns import show
from reports.frames import WARMUP_SHARE_LIMIT, edges, epochs_frame, trial_label, trials_frame
from reports.winner import winning_trial
from search.experiment import Experiment
from search.ledger import Ledger, TrialRecord

TERMINAL_WIDTH = 100
_NO_REASON = {
    STOPPED: "ended early on purpose",
    DIVERGED: "a loss or gradient was not finite",
    FAILED: "no reason recorded",
}


def experiments(experiment: Experiment, ledger: Ledger, cost: bool = False) -> pd.DataFrame:
    """The complete trials, as in the assignment: experiment, epochs, losses, perplexity, time,
    notes. With `cost`, for a page with more room than a terminal, also floating-point
    operations."""
    trials = trials_frame(experiment, ledger)
    trials = trials[trials["status"] == COMPLETE].reset_index(drop=True)
    best = winning_trial(experiment, ledger)
    setting = best.config.replace(seed=0) if best else None
    seeds = sum(trial.config.replace(seed=0) == setting for trial in ledger.complete())
    # Another seed may be lower: it is the mean that is the best.
    best_notes = ["best" if seeds < 2 else "best by the mean of its seeds"] + [
        f"{edge.axis.name} at the {'upper' if edge.upper else 'lower'} edge"
        for edge in (edges(experiment, best.config) if best else [])
    ]
    trials["notes"] = [
        "; ".join((best_notes if trial["best"] else []) + _notes(trial))
        for trial in trials.to_dict("records")
    ]
    names = ["experiment", "epochs", "train_loss_nats", "val_loss_nats", "val_perplexity"]
    names += ["val_bits_per_byte", "total_seconds"]
    return trials[[*names, *(["flop"] if cost else []), "notes"]]


def _notes(trial: Mapping[Hashable, Any]) -> list[str]:
    notes = []
    if trial["lowest_epoch"] < trial["epochs"]:
        notes.append(f"validation loss rose after epoch {trial['lowest_epoch']:.0f}")
    if trial["warmup_share"] > WARMUP_SHARE_LIMIT:
        notes.append(f"warm-up is {trial['warmup_share']:.0%} of the run")
    if trial["too_dear"]:
        notes.append("above --max-cost")
    if trial["pack"] > 1:
        notes.append(f"time is of a pack of {trial['pack']}")
    if trial["attempts"] > 1:
        notes.append(f"started {trial['attempts']} times")
    if isinstance(trial["taken_from"], str):
        notes.append(f"from {trial['taken_from']}")
    return notes


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
    base = experiment.base.replace(seed=0)
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


def as_text(frame: pd.DataFrame) -> str:
    """`frame` in aligned columns, at most 100 characters wide; long cells are wrapped."""
    shown = show(frame)
    widths = _widths([shown.headings, *shown.rows])
    lines = []
    for number, row in enumerate([shown.headings, *shown.rows]):
        wrapped = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for i in range(max([1, *map(len, wrapped)])):
            parts = [cell[i] if i < len(cell) else "" for cell in wrapped]
            aligned = [
                part.rjust(width) if numeric else part.ljust(width)
                for part, width, numeric in zip(parts, widths, shown.numeric, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _widths(rows: list[list[str]]) -> list[int]:
    """Each column's width: as its longest cell while there is room, then narrowing the widest,
    down to its longest word if that is enough."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, cells)) for cells in columns]
    words = [max(len(word) for cell in cells for word in ["", *cell.split()]) for cells in columns]
    while sum(widths) + 2 * (len(widths) - 1) > TERMINAL_WIDTH and max(widths, default=0) > 1:
        can_wrap = [w if w > word else 0 for w, word in zip(widths, words, strict=True)]
        choice = can_wrap if any(can_wrap) else widths
        widths[choice.index(max(choice))] -= 1
    return widths
