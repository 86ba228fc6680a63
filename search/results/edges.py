"""Whether a value lies at an end of its range: the last one tried of an axis, so that a better may
lie beyond, or a warm-up that takes most of a run."""

from __future__ import annotations

import dataclasses
import math

from minigpt_search.model.config import RunConfig
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.space.axes import AXES, CHOICES, LOG, TOKENS, Axis, Value


def warmup_share(trial: TrialRecord) -> float:
    """Share of the run that was warm-up."""
    return trial.config.train.resolved_warmup_steps(trial.steps) / max(1, trial.steps)


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
    for name, values in experiment.space.axes.items():
        axis, kind = AXES[name], experiment.space.kind(name)
        if axis.categorical or (name == TOKENS and experiment.ladder is not None):
            continue  # its values have no order, or the target's is none that was searched for
        value, low, high = axis.value(config), min(values), max(values)
        if low == high:
            continue
        # A sampler hardly ever draws the bound of a range itself, so a margin counts as the edge.
        ranged = experiment.plan.sampler is not None and kind != CHOICES
        margin = 0.05 if ranged else 0.0
        log = kind == LOG if ranged else axis.log
        scale = math.log if log and low > 0 else float
        position = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if position <= margin and low <= (1 if axis.integer else 0):
            continue  # nothing lies below one epoch, or below no dropout
        if position <= margin or position >= 1 - margin:
            found.append(Edge(axis=axis, value=value, upper=position > 0.5))
    return found
