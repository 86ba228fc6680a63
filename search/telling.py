"""What a sampler is told of an ended trial: from its record in the ledger, or from its last report
to Tune. Both come to the same, so that a resumed search learns nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.records import COMPLETE
from search.axes import AXES, apply_axes
from search.axis import Value
from search.experiment import Experiment, KnownPoint
from search.ledger import TrialRecord
from search.objective import SECONDS, counted_cost, parse_max_cost
from search.replicates import cell_result
from search.rung_files import record_curve
from search.sampler import Told
from search.tune_reports import OBJECTIVE


def told(experiment: Experiment, records: Sequence[TrialRecord]) -> Told:
    """Of a configuration, by the records of all its replicates, none of which failed; its curve is
    the first one's."""
    values = {name: AXES[name].value(records[0].config) for name in experiment.axes}
    result = cell_result(records)
    curve = record_curve(records[0]) if len(experiment.objectives) == 1 else {}
    return _told(experiment, values, result.status, result.loss, result.training_seconds, curve)


def told_of_report(
    experiment: Experiment, values: Mapping[str, Value], result: Mapping[str, Any]
) -> Told:
    """Of a trial's values and its last report; its curve was told epoch by epoch."""
    seconds = result["training_seconds"]
    return _told(experiment, values, result["status"], result[OBJECTIVE], seconds, {})


def told_of_point(experiment: Experiment, point: KnownPoint) -> Told:
    """Of another experiment's result (`--warm-start`)."""
    return _told(experiment, point.values, COMPLETE, point.objective, point.seconds, {})


def _told(
    experiment: Experiment,
    values: Mapping[str, Value],
    status: str,
    loss: float,
    seconds: float,
    curve: Mapping[int, float],
) -> Told:
    cost, limit = None, parse_max_cost(experiment.max_cost)
    if len(experiment.objectives) > 1:
        unit = experiment.objectives[1]
        config = apply_axes(experiment.base, values)
        counted = unit != SECONDS
        cost = counted_cost(config, unit, experiment.corpus) if counted else seconds
    overrun = seconds - limit.most if limit is not None and limit.unit == SECONDS else None
    return Told(
        values=values, status=status, objective=loss, cost=cost, overrun=overrun, curve=curve
    )
