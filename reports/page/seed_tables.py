"""Tables of what belongs together: the seeds of a configuration, and a trial with its reruns."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import pandas as pd

from minigpt_search.model.records import COMPLETE, STATUSES
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.configurations import by_configuration, losses
from minigpt_search.search.results.cost import trained_flop
from minigpt_search.search.results.labels import axis_values, short_label, trial_label
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import estimate


def configurations_table(results: Results) -> pd.DataFrame:
    """A row a configuration with its axes' values, in the order of the trials' frame: how many of
    its seeds ended how, the mean of their losses with spread and 95% interval, and what one of them
    costs."""
    rows = []
    records = {trial.trial_id: trial for trial in results.trials}
    ordered = [records[trial_id] for trial_id in results.trials_frame["trial_id"]]
    for config, trials in by_configuration(ordered).items():
        done = [trial for trial in trials if trial.status == COMPLETE]
        row: dict[str, Any] = {
            "configuration": short_label(results.experiment, config),
            **axis_values(results.experiment, config),
            "seeds": _endings(trials),
        }
        if done:
            known = estimate(losses(done))
            row |= {
                "train_loss_nats": statistics.fmean(t.final.train_loss_nats for t in done),
                "val_loss_nats": known.mean,
                "val_loss_sd": statistics.stdev(losses(done)) if known.n > 1 else None,
                "flop": statistics.fmean(map(trained_flop, done)),
                "total_seconds": statistics.fmean(t.timing.total() / t.pack for t in done),
            }
            if known.low is not None:
                row["val_loss_interval"] = f"{known.low:.4f} to {known.high:.4f}"
        rows.append(row)
    names = [
        "configuration",
        *results.experiment.space.axes,
        "seeds",
        "train_loss_nats",
        "val_loss_nats",
        "val_loss_sd",
    ]
    names += ["val_loss_interval", "total_seconds", "flop"]
    return pd.DataFrame(rows, columns=names)


def _endings(trials: list[TrialRecord]) -> str:
    """`3 of 3`, `2 of 3 (1 diverged)`."""
    counts = Counter(trial.status for trial in trials)
    text = f"{counts.pop(COMPLETE, 0)} of {len(trials)}"
    others = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    return f"{text} ({', '.join(others)})" if others else text


def rerun_commands(results: Results, order: list[str], start: str) -> pd.DataFrame:
    """How each complete trial of `order` (trial ids) is trained again, and whether that came out
    the same when it was."""
    records = {trial.trial_id: trial for trial in results.complete}
    rows = []
    for trial_id in order:
        trial = records[trial_id]
        again = [rerun for rerun in results.reruns if rerun.trial_id == trial_id]
        came_out = None
        if again:
            difference = again[-1].val_loss_nats - again[-1].ledger_val_loss_nats
            came_out = "to the bit" if again[-1].same_bits else f"{difference:+.2e} nats"
        rows.append(
            {
                "trial": trial_label(results.experiment, trial.config, trial.replicate),
                "came_out": came_out,
                "command": f"{start} --trial {trial_id}",
            }
        )
    return pd.DataFrame(rows, columns=["trial", "came_out", "command"])
