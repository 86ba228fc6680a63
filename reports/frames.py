"""An experiment and its ledger as DataFrames: what tables and figures are made from.

Numbers of a trial that did not finish never enter these frames: its losses are not comparable
with those of a complete run, so no table or figure can show them by accident.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from model.config import RunConfig, flops_per_token
from model.records import COMPLETE, EpochRecord
from reports.winner import winning_trial
from search.axes import AXES, Axis, cell_label
from search.axis import CHOICES, LOG, Value
from search.experiment import Experiment
from search.ledger import Ledger, TrialRecord
from search.objective import parse_max_cost

_RESULTS = ("train_loss_nats", "val_loss_nats", "val_perplexity", "val_bits_per_byte")
_TRIAL = (
    "trial_id",
    "experiment",
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
    "too_dear",
)
_EPOCH = (
    "trial_id",
    "experiment",
    "configuration",
    *(f.name for f in dataclasses.fields(EpochRecord)),
)

WARMUP_SHARE_LIMIT = 0.2
"""A longer warm-up leaves too little of the run at a useful rate."""


def trial_label(experiment: Experiment, config: RunConfig, replicate: int) -> str:
    """The cell, and the seed's number where there are several: `lr=0.001, seed 2`."""
    return cell_label(config, list(experiment.axes)) + _seed(experiment, replicate)


def _seed(experiment: Experiment, replicate: int) -> str:
    """Those of `--confirm` are fresh ones."""
    if replicate >= experiment.seeds:
        return f", fresh seed {replicate - experiment.seeds + 1}"
    return f", seed {replicate + 1}" if experiment.seeds > 1 else ""


def trials_frame(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """One row a trial, with a column for each axis. A grid is in the order of its cells or of its
    axes' values, a sampler's trials by validation loss."""
    best = winning_trial(experiment, ledger)
    axes, limit = list(experiment.axes), parse_max_cost(experiment.max_cost)
    rows = [
        _trial_row(experiment, trial, trial is best)
        | {"too_dear": limit is not None and not limit.held_by(trial)}
        for trial in ledger.trials
    ]
    frame = pd.DataFrame(rows, columns=[*_TRIAL, *(name for name in axes if name not in _TRIAL)])
    if experiment.sampler is not None:
        return frame.sort_values("val_loss_nats", kind="stable", ignore_index=True)
    if experiment.cells is None:
        return frame.sort_values([*axes, "replicate"], kind="stable", ignore_index=True)
    cells = [tuple(cell[name] for name in axes) for cell in experiment.cells]
    found = frame[axes].itertuples(index=False, name=None)
    place = [cells.index(cell) if cell in cells else len(cells) for cell in found]
    frame = frame.assign(place=place).sort_values(["place", "replicate"], kind="stable")
    return frame.drop(columns="place").reset_index(drop=True)


def is_star(experiment: Experiment) -> bool:
    """Whether the grid varies one axis at a time around its base, as `--grid claims` does."""
    if experiment.cells is None:
        return False
    base = {name: AXES[name].value(experiment.base) for name in experiment.axes}
    near = [sum(cell[name] != base[name] for name in base) <= 1 for cell in experiment.cells]
    return sum(near) > len(near) / 2


def setting_label(experiment: Experiment, config: RunConfig) -> str:
    """The cell as tables and legends call it; around a base, only what sets it apart."""
    names = list(experiment.axes)
    if not is_star(experiment):
        return cell_label(config, names)
    apart = [n for n in names if AXES[n].value(config) != AXES[n].value(experiment.base)]
    return cell_label(config, apart) if apart else "baseline"


def row_label(experiment: Experiment, config: RunConfig, replicate: int) -> str:
    """`setting_label`, with the seed's number as in `trial_label`."""
    return setting_label(experiment, config) + _seed(experiment, replicate)


def trained_flop(trial: TrialRecord) -> float:
    """Floating-point operations of the steps that a trial did."""
    tokens = trial.steps * trial.config.train.batch_size * trial.config.model.seq_len
    if trial.status == COMPLETE:
        tokens = trial.final.tokens_seen  # its last batch of an epoch may be short
    return float(tokens * flops_per_token(trial.config.model))


def _trial_row(experiment: Experiment, trial: TrialRecord, best: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial_id": trial.trial_id,
        "experiment": row_label(experiment, trial.config, trial.replicate),
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
    row |= {name: AXES[name].value(trial.config) for name in experiment.axes}
    return row | (_result(trial) if trial.status == COMPLETE else {})


def _result(trial: TrialRecord) -> dict[str, Any]:
    final = trial.final
    warmup = trial.config.train.resolved_warmup_steps(trial.steps)
    seconds = trial.timing.training_seconds or math.nan
    return {
        **{name: getattr(final, name) for name in _RESULTS},
        "lowest_epoch": min(trial.epochs, key=lambda e: e.val_loss_nats).epoch,
        "warmup_share": warmup / max(1, trial.steps),
        "steps_per_second": trial.steps / seconds,
        "tokens_per_second": final.tokens_seen / seconds,
    }


def epochs_frame(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """One row an epoch of each complete trial, trials in the order they finished."""
    rows = [
        {
            "trial_id": trial.trial_id,
            "experiment": row_label(experiment, trial.config, trial.replicate),
            "configuration": setting_label(experiment, trial.config),
            **vars(epoch),
        }
        for trial in ledger.complete()
        for epoch in trial.epochs
    ]
    return pd.DataFrame(rows, columns=list(_EPOCH))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edge:
    """An axis whose best value is the last one tried: the optimum may lie beyond."""

    axis: Axis
    value: Value
    upper: bool
    """Whether it is the highest value; else the lowest."""


def edges(experiment: Experiment, config: RunConfig) -> list[Edge]:
    """The axes on which `config` is at the edge of what was searched."""
    found = []
    for name, values in experiment.axes.items():
        axis, kind = AXES[name], experiment.space.kind(name)
        if axis.categorical:
            continue  # its values have no order
        value, low, high = axis.value(config), min(values), max(values)
        if low == high:
            continue
        # A sampler hardly ever draws the bound of a range itself, so a margin counts as the edge.
        ranged = experiment.sampler is not None and kind != CHOICES
        margin = 0.05 if ranged else 0.0
        log = kind == LOG if ranged else axis.log
        scale = math.log if log and low > 0 else float
        place = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if place <= margin and low <= (1 if axis.integer else 0):
            continue  # nothing lies below one epoch, or below no dropout
        if place <= margin or place >= 1 - margin:
            found.append(Edge(axis=axis, value=value, upper=place > 0.5))
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """What one epoch of a configuration goes through."""

    sequences_available: int
    sequences: int
    """Fewer than available when `tokens_per_epoch` limits them."""
    batches: int
    tokens: int


def epoch_plan(config: RunConfig, train_files: Sequence[Mapping[str, Any]]) -> EpochPlan:
    """The assignment's arithmetic: each segment loses its remainder below the context length, and
    the last short batch is kept."""
    seq_len, limit = config.model.seq_len, config.train.tokens_per_epoch
    available = sum(max(0, int(file["tokens"]) - 1) // seq_len for file in train_files)
    sequences = available if limit is None else min(available, limit // seq_len)
    return EpochPlan(
        sequences_available=available,
        sequences=sequences,
        batches=math.ceil(sequences / config.train.batch_size),
        tokens=sequences * seq_len,
    )
