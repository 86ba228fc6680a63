"""The rows of the live page's two tables: trials that train, and trials that ended."""

from __future__ import annotations

from typing import Any

from minigpt_search.data.common.formatting import duration
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.answer.endings import NO_REASON
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.live import LiveTrial
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.results.results import Results

ROWS = 30
"""Of the trials that ended; the report has them all."""


def running_row(trial: LiveTrial) -> dict[str, Any]:
    curve = trial.curve
    # The last points of the curves beside it: the trial's own is a mean since its epoch began.
    train = curve.train_loss_nats[-1] if curve.train_loss_nats else trial.train_loss_nats
    val = curve.val_loss_nats[-1] if curve.val_loss_nats else trial.val_loss_nats
    return {
        "id": trial.trial_id,
        "label": trial.trial,
        "step": trial.step,
        "total_steps": trial.total_steps,
        "train": train,
        "val": val,
        "reported_at": trial.reported_at,
    }


def ended_rows(results: Results) -> tuple[list[dict[str, Any]], int]:
    """The best complete trials, then the newest without a result; and how many are left out."""
    complete = sorted(results.complete, key=lambda trial: trial.final.val_loss_nats)
    others = [trial for trial in results.trials if trial.status != COMPLETE]
    shown = [*complete[: ROWS - min(len(others), ROWS // 3)]]
    shown += others[-(ROWS - len(shown)) :] if len(shown) < ROWS else []
    rows = [_row(results, trial) for trial in shown]
    return rows, len(results.trials) - len(rows)


def _row(results: Results, trial: TrialRecord) -> dict[str, Any]:
    done = trial.status == COMPLETE
    return {
        "id": trial.trial_id,
        "label": trial_label(results.experiment, trial.config, trial.replicate),
        "state": trial.status,
        "best": trial is results.winning_trial,
        "val": trial.final.val_loss_nats if done else None,
        "train": trial.final.train_loss_nats if done else None,
        "time": duration(trial.timing.total()),
        "reason": None if done else trial.error or NO_REASON[trial.status],
    }
