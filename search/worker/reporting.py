"""What a Ray worker tells Tune of its trials: for the screen, the curves and the sampler.

The result itself goes through the trial's folder to the ledger.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from ray import tune

from minigpt_search.model.records import EpochRecord, RungRecord, TrialCurve
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.search.early_stopping.rule import curve_step
from minigpt_search.search.early_stopping.rungs import StoppingDecision
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import note_first_step, trial_folder
from minigpt_search.search.results.configurations import configuration_result
from minigpt_search.search.sync.worker_files import WorkerFiles
from minigpt_search.search.trials.reports import OBJECTIVE
from minigpt_search.search.trials.trial import Trial

REPORT_EVERY_SECONDS = 1.9
"""At least this between two reports of progress: `train` tells of it once a second, and a report
costs 4 ms, of which the screen needs one each two seconds."""
REPORTS_A_SECOND = 10.0
"""Of all trials together at most: each costs the driver 1 to 2 ms of processor time
(tests/benchmarks/scaling/scaling.py), and a thousand trials would leave it none."""


def report_every(at_a_time: int) -> float:
    """Seconds between two reports of a trial's progress, where so many run."""
    return max(REPORT_EVERY_SECONDS, at_a_time / REPORTS_A_SECOND)


def tune_hooks(
    trial: Trial, files: WorkerFiles, decision: StoppingDecision, at_a_time: int
) -> Hooks:
    """A trial's hooks, which report to Tune and tell `files` of what was written.

    Args:
        decision: says at a rung whether it stops.
        at_a_time: so many trials run beside each other.
    """
    folder = trial_folder(files.folder, trial.trial_id)
    # Tune wants the metric in every report; before the first epoch there is only the loss of
    # a uniform prediction.
    objective = math.log(trial.config.model.vocab_size)
    reported_at, every = -math.inf, report_every(at_a_time)
    curve_at = total_steps = 0
    curve, told = TrialCurve(), (0, 0)

    def on_curve(so_far: TrialCurve) -> None:
        nonlocal curve
        curve = so_far

    def new_points() -> TrialCurve:
        """Those that no report had yet; of a trial that goes on the first has all."""
        nonlocal told
        new = curve.since(*told)
        told = len(curve.steps), len(curve.val_steps)
        return new

    def on_progress(progress: Progress) -> None:
        nonlocal reported_at, total_steps
        total_steps = progress.total_steps
        now = time.monotonic()
        if now - reported_at < every:
            return
        reported_at = now
        tune.report(
            {
                OBJECTIVE: objective,
                "kind": "progress",
                "member": trial.trial_id,
                "replicate": trial.replicate,
                "step": progress.step,
                "total_steps": progress.total_steps,
                "train_loss_nats": progress.train_loss_nats,
                "curve": new_points(),
            }
        )

    def on_epoch(record: EpochRecord) -> None:
        nonlocal objective, curve_at
        objective = record.val_loss_nats
        share = record.epoch / trial.config.train.epochs
        curve_at = curve_step(trial.config, share, record.tokens_seen)
        tune.report(
            {
                OBJECTIVE: objective,
                "kind": "epoch",
                "member": trial.trial_id,
                "replicate": trial.replicate,
                "epoch": record.epoch,
                "step": total_steps * record.epoch // trial.config.train.epochs,
                "total_steps": total_steps,
                "curve_step": curve_at,
                "train_loss_nats": record.train_loss_nats,
                "val_loss_nats": record.val_loss_nats,
                "lr": record.lr_last,
                "curve": new_points(),
            }
        )

    def on_rung(record: RungRecord) -> bool:
        nonlocal objective
        objective = record.val_loss_nats
        at = curve_step(trial.config, record.share, record.tokens_seen)
        if at != curve_at:  # else it is an epoch's end, which was reported
            tune.report(
                {
                    OBJECTIVE: objective,
                    "kind": "rung",
                    "member": trial.trial_id,
                    "replicate": trial.replicate,
                    "step": record.step,
                    "total_steps": total_steps,
                    "curve_step": at,
                    "val_loss_nats": record.val_loss_nats,
                    "curve": new_points(),
                }
            )
        return decision.stops(record)

    def on_start(step: int) -> None:
        files.wrote(note_first_step(folder, step))

    return Hooks(
        on_start=on_start,
        on_curve=on_curve,
        on_progress=on_progress,
        on_epoch=on_epoch,
        on_rung=on_rung,
        on_checkpoint=files.wrote_checkpoint,
    )


def last_report(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """The report of trials that ended together: what a sampler is told of one configuration's
    replicates."""
    result = configuration_result(records)
    return {
        OBJECTIVE: result.loss,
        "kind": "end",
        "status": result.status,
        "training_seconds": result.training_seconds,
    }
