"""Trials, their epochs and their curves as DataFrames: what tables and figures are made from.

Numbers of a trial that did not finish never enter these frames: its losses are not comparable
with those of a complete run, so no table or figure can show them by accident.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from minigpt_search.model.records import COMPLETE, EpochRecord
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.cost import trained_flop, within_limit
from minigpt_search.search.results.edges import warmup_share
from minigpt_search.search.results.labels import short_label, trial_label
from minigpt_search.search.space.axes import AXES
from minigpt_search.search.space.objective import parse_max_cost

_RESULTS = ("train_loss_nats", "val_loss_nats", "val_perplexity", "val_bits_per_byte")
_TRIAL = (
    "trial_id",
    "trial",
    "replicate",
    "status",
    "epochs",
    "epochs_done",
    "steps",
    *_RESULTS,
    "lowest_epoch",
    "warmup_share",
    "steps_per_second",
    "tokens_per_second",
    "total_seconds",
    "flop",
    "attempts",
    "pack",
    "taken_from",
    "reason",
    "best",
    "over_cost_limit",
)
_EPOCH = (
    "trial_id",
    "trial",
    "configuration",
    *(f.name for f in dataclasses.fields(EpochRecord)),
)

_CURVE = (
    "trial_id",
    "trial",
    "configuration",
    "step",
    "tokens_seen",
    "wall_seconds",
    "train_loss_nats",
    "val_loss_nats",
    "grad_norm",
    "grad_norm_max",
    "lr",
    "by_epoch",
    "few_windows",
)


def trials_frame(
    experiment: Experiment, trials: Iterable[TrialRecord], best: TrialRecord | None
) -> pd.DataFrame:
    """One row a trial, with a column for each axis; `best` stands for the winner. A grid is in the
    order of its cells or of its axes' values, a sampler's trials by validation loss."""
    axes, limit = list(experiment.space.axes), parse_max_cost(experiment.plan.max_cost)
    rows = [
        _trial_row(experiment, trial, trial is best)
        | {"over_cost_limit": limit is not None and not within_limit(trial, limit)}
        for trial in trials
    ]
    frame = pd.DataFrame(rows, columns=[*_TRIAL, *(name for name in axes if name not in _TRIAL)])
    if experiment.plan.sampler is not None:
        return frame.sort_values("val_loss_nats", kind="stable", ignore_index=True)
    if experiment.space.cells is None or experiment.ladder is not None:
        return frame.sort_values([*axes, "replicate"], kind="stable", ignore_index=True)
    cells = [tuple(cell[name] for name in axes) for cell in experiment.space.cells]
    found = frame[axes].itertuples(index=False, name=None)
    position = [cells.index(cell) if cell in cells else len(cells) for cell in found]
    frame = frame.assign(position=position).sort_values(["position", "replicate"], kind="stable")
    return frame.drop(columns="position").reset_index(drop=True)


def _trial_row(experiment: Experiment, trial: TrialRecord, best: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial_id": trial.trial_id,
        "trial": trial_label(experiment, trial.config, trial.replicate),
        "replicate": trial.replicate,
        "status": trial.status,
        "epochs": trial.config.train.epochs,
        "epochs_done": len(trial.epochs),
        "steps": trial.steps,
        "total_seconds": trial.timing.total(),
        "flop": trained_flop(trial),
        "attempts": trial.attempts,
        "pack": trial.pack,
        "taken_from": trial.taken_from,
        "reason": trial.error,
        "best": best,
    }
    row |= {name: AXES[name].value(trial.config) for name in experiment.space.axes}
    return row | (_result(trial) if trial.status == COMPLETE else {})


def _result(trial: TrialRecord) -> dict[str, Any]:
    final = trial.final
    seconds = trial.timing.training_seconds or math.nan
    return {
        **{name: getattr(final, name) for name in _RESULTS},
        "lowest_epoch": min(trial.epochs, key=lambda e: e.val_loss_nats).epoch,
        "warmup_share": warmup_share(trial),
        "steps_per_second": trial.steps / seconds,
        "tokens_per_second": final.tokens_seen / seconds,
    }


def epochs_frame(experiment: Experiment, complete: Iterable[TrialRecord]) -> pd.DataFrame:
    """One row an epoch of each complete trial, trials in the order they finished."""
    rows = [
        {
            "trial_id": trial.trial_id,
            "trial": trial_label(experiment, trial.config, trial.replicate),
            "configuration": short_label(experiment, trial.config),
            **vars(epoch),
        }
        for trial in complete
        for epoch in trial.epochs
    ]
    return pd.DataFrame(rows, columns=list(_EPOCH))


def curves_frame(experiment: Experiment, complete: Iterable[TrialRecord]) -> pd.DataFrame:
    """One row a point of each complete trial's curve, with training or validation and nothing in
    the other's columns; one an epoch of a trial without one (`by_epoch`), with both.

    A validation on a few windows (`few_windows`) is shifted by what these are off at the end.
    `wall_seconds` are reckoned between epochs' ends as if each step took as long.
    """
    frames = [pd.DataFrame(columns=list(_CURVE))]
    for trial in complete:
        points = _points(trial) if trial.curve is not None else _points_by_epoch(trial)
        points = points.assign(
            trial_id=trial.trial_id,
            trial=trial_label(experiment, trial.config, trial.replicate),
            configuration=short_label(experiment, trial.config),
            by_epoch=trial.curve is None,
        )
        frames.append(points)
    # Concatenated with it an empty frame would make every column one of objects.
    return pd.concat(frames[1:] or frames, ignore_index=True).reindex(columns=list(_CURVE))


def _points_by_epoch(trial: TrialRecord) -> pd.DataFrame:
    points = pd.DataFrame([vars(epoch) for epoch in trial.epochs])
    points["step"] = points["epoch"] * (trial.steps // len(trial.epochs))
    return points.rename(columns={"lr_last": "lr", "grad_norm_mean": "grad_norm"})


def _points(trial: TrialRecord) -> pd.DataFrame:
    curve = trial.curve
    assert curve is not None
    training = {
        "step": curve.steps,
        "train_loss_nats": curve.train_loss_nats,
        "grad_norm": curve.grad_norm,
        "grad_norm_max": curve.grad_norm_max,
        "lr": curve.lr,
    }
    per_epoch = trial.steps // len(trial.epochs)
    whole = {per_epoch * epoch.epoch: epoch.val_loss_nats for epoch in trial.epochs}
    whole |= {rung.step: rung.val_loss_nats for rung in trial.rungs}
    few = curve.few_val_loss_nats
    shift = 0.0 if few is None else trial.final.val_loss_nats - few
    pairs = zip(curve.val_steps, curve.val_loss_nats, strict=True)
    losses = {step: loss + shift for step, loss in pairs} | whole
    validation = {
        "step": sorted(losses),
        "val_loss_nats": [losses[step] for step in sorted(losses)],
        "few_windows": [step not in whole for step in sorted(losses)],
    }
    points = pd.concat([pd.DataFrame(training), pd.DataFrame(validation)], ignore_index=True)
    final, train = trial.final, trial.config.train
    sequences = final.tokens_seen // len(trial.epochs) // trial.config.model.seq_len
    epochs, rest = points["step"] // per_epoch, points["step"] % per_epoch
    seen = epochs * sequences + (rest * train.batch_size).clip(upper=sequences)
    ends = [0, *(per_epoch * epoch.epoch for epoch in trial.epochs)]
    seconds = [trial.timing.startup_seconds, *(epoch.wall_seconds for epoch in trial.epochs)]
    return points.assign(
        tokens_seen=seen * trial.config.model.seq_len,
        wall_seconds=np.interp(points["step"], ends, seconds),
    )
