"""Tables of what belongs together: the seeds of a configuration, and a trial with its reruns."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import pandas as pd

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, STATUSES
from minigpt_search.reports.claims.evidence import Evidence, val_loss
from minigpt_search.search.answer.frames import trials_frame
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger, TrialRecord
from minigpt_search.search.results.cost import trained_flop
from minigpt_search.search.results.labels import row_label, setting_label


def cells_of(experiment: Experiment, ledger: Ledger) -> dict[RunConfig, list[TrialRecord]]:
    """The trials of each configuration, whatever their seed and status, in the tables' order."""
    cells: dict[RunConfig, list[TrialRecord]] = {}
    records = {trial.trial_id: trial for trial in ledger.trials}
    for trial_id in trials_frame(experiment, ledger)["trial_id"]:
        trial = records[trial_id]
        cells.setdefault(trial.config.replace(seed=0), []).append(trial)
    return cells


def configurations(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """A row a configuration, in the order of the experiments table: how many of its seeds ended
    how, the mean of their losses with spread and 95% interval, and what one of them costs."""
    rows = []
    evidence = Evidence(experiment, ledger)
    for config, trials in cells_of(experiment, ledger).items():
        done = [trial for trial in trials if trial.status == COMPLETE]
        row: dict[str, Any] = {
            "experiment": setting_label(experiment, config),
            "seeds": _endings(trials),
        }
        if done:
            losses = [trial.final.val_loss_nats for trial in done]
            row |= {
                "train_loss_nats": statistics.fmean(t.final.train_loss_nats for t in done),
                "val_loss_nats": statistics.fmean(losses),
                "val_loss_sd": statistics.stdev(losses) if len(losses) > 1 else None,
                "flop": statistics.fmean(map(trained_flop, done)),
                "total_seconds": statistics.fmean(t.timing.total() / t.pack for t in done),
            }
        if len(done) > 1:
            interval = evidence.level(done, val_loss)
            row["val_loss_interval"] = f"{interval.low:.4f} to {interval.high:.4f}"
        rows.append(row)
    names = ["experiment", "seeds", "train_loss_nats", "val_loss_nats", "val_loss_sd"]
    names += ["val_loss_interval", "total_seconds", "flop"]
    return pd.DataFrame(rows, columns=names)


def _endings(trials: list[TrialRecord]) -> str:
    """`3 of 3`, `2 of 3 (1 diverged)`."""
    counts = Counter(trial.status for trial in trials)
    text = f"{counts.pop(COMPLETE, 0)} of {len(trials)}"
    others = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    return f"{text} ({', '.join(others)})" if others else text


def rerun_commands(
    experiment: Experiment, ledger: Ledger, order: list[str], start: str
) -> pd.DataFrame:
    """How each complete trial of `order` (trial ids) is trained again, and whether that came out
    the same when it was."""
    records = {trial.trial_id: trial for trial in ledger.complete()}
    rows = []
    for trial_id in order:
        trial = records[trial_id]
        again = [rerun for rerun in ledger.reruns if rerun.trial_id == trial_id]
        came_out = None
        if again:
            difference = again[-1].val_loss_nats - again[-1].ledger_val_loss_nats
            came_out = "to the bit" if again[-1].same_bits else f"{difference:+.2e} nats"
        rows.append(
            {
                "experiment": row_label(experiment, trial.config, trial.replicate),
                "came_out": came_out,
                "command": f"{start} --trial {trial_id}",
            }
        )
    return pd.DataFrame(rows, columns=["experiment", "came_out", "command"])
