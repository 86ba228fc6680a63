"""Trials as rows of Optuna's own tables in SQLite: what its storage would write, faster.

Optuna's storage takes 16 ms of processor time a trial, half of what all else of it costs the
driver; these rows take 0.2 (`tests/benchmarks/scaling/scaling.py --parts`, 2026-11-29). The tables
themselves are made by Optuna, and `tests/search/samplers/test_study_db.py` compares row by row with
what Optuna writes of the same trials.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
)
from optuna.study import StudyDirection

from minigpt_search.model.records import COMPLETE, STOPPED
from minigpt_search.search.early_stopping.rungs import record_curve
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.cost import cost_of_record, tokens_seen
from minigpt_search.search.samplers.optuna_samplers import distribution
from minigpt_search.search.space.axes import AXES
from minigpt_search.search.space.objective import (
    COSTS,
    FLOP,
    LOSS,
    PARAMETERS,
    SECONDS,
    parse_max_cost,
)

_STATES = {COMPLETE: "COMPLETE", STOPPED: "PRUNED"}
"""Every other status is a failure to Optuna."""
_METRICS = {
    LOSS: "val_loss_nats",
    FLOP: FLOP,
    SECONDS: "training_seconds",
    PARAMETERS: "parameters",
}
_INSERTS = {
    "trials": "(trial_id, study_id, state, datetime_start, datetime_complete, number)",
    "trial_params": "(trial_id, param_name, param_value, distribution_json)",
    "trial_values": "(trial_id, objective, value, value_type)",
    "trial_intermediate_values": "(trial_id, step, intermediate_value, intermediate_value_type)",
    "trial_user_attributes": '(trial_id, "key", value_json)',
    "trial_system_attributes": '(trial_id, "key", value_json)',
}
"""Columns of the tables that a trial has rows in."""


@contextmanager
def empty_study(experiment: Experiment) -> Iterator[sqlite3.Connection]:
    """A database in memory that holds the experiment's study, made by Optuna, without trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objectives = experiment.plan.objectives
    storage = optuna.storages.RDBStorage("sqlite://")
    try:
        study = storage.create_new_study(
            [StudyDirection.MINIMIZE] * len(objectives), experiment.name
        )
        # As `Study.set_metric_names` does, which warns that it is experimental.
        names = [_METRICS[name] for name in objectives]
        storage.set_study_system_attr(study, "study:metric_names", names)
        if experiment.plan.max_cost is not None:
            storage.set_study_user_attr(study, "max_cost", experiment.plan.max_cost)
        connection = storage.engine.raw_connection()
        try:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            yield driver
        finally:
            connection.close()
    finally:
        storage.engine.dispose()


class StudyRows:
    """Writes an experiment's trials into its study's tables."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.limit = parse_max_cost(experiment.plan.max_cost)
        self.distributions: dict[str, BaseDistribution] = {
            name: distribution(experiment.space, name)
            if experiment.plan.sampler
            else CategoricalDistribution(values)
            for name, values in experiment.space.axes.items()
        }
        self.described = {
            name: distribution_to_json(each) for name, each in self.distributions.items()
        }

    def insert(
        self, connection: sqlite3.Connection, records: Iterable[TrialRecord], first: int
    ) -> None:
        """Add the records' trials, the first with Optuna's number `first` (from 0), in the
        transaction that is open or begins here. Raises `sqlite3.Error`."""
        rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERTS}
        for number, record in enumerate(records, start=first):
            for table, row in self._rows(record, number):
                rows[table].append((number + 1, *row))
        for table, columns in _INSERTS.items():
            places = ", ".join("?" * (columns.count(",") + 1))
            statement = f"INSERT INTO {table} {columns} VALUES ({places})"
            connection.executemany(statement, rows[table])

    def _rows(self, record: TrialRecord, number: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Pairs of a table's name and a row there, without the trial's id before it."""
        costs = {unit: cost_of_record(record, unit) for unit in COSTS}
        # In UTC. Optuna's own would be the moment at which it is written.
        ended = datetime.datetime.fromisoformat(record.ended_at).astimezone(datetime.UTC)
        started = ended - datetime.timedelta(seconds=record.timing.total())
        state = _STATES.get(record.status, "FAIL")
        times = (f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in (started, ended))
        yield "trials", (1, state, *times, number)
        for name, known in self.distributions.items():
            value = known.to_internal_repr(AXES[name].value(record.config))
            yield "trial_params", (name, value, self.described[name])
        if record.status == COMPLETE:
            further = (costs[unit] for unit in self.experiment.plan.objectives[1:])
            for objective, value in enumerate((record.final.val_loss_nats, *further)):
                yield "trial_values", (objective, value, "FINITE")
        for step, loss in record_curve(record).items():
            yield "trial_intermediate_values", (step, loss, "FINITE")
        for key, attribute in _attributes(record, costs).items():
            yield "trial_user_attributes", (key, json.dumps(attribute))
        if self.limit is not None:
            # In Optuna's older form, the one that optuna-dashboard shows as "infeasible".
            above = [costs[self.limit.unit] - self.limit.most]
            yield "trial_system_attributes", ("constraints", json.dumps(above))


def _attributes(record: TrialRecord, costs: Mapping[str, float]) -> dict[str, Any]:
    """What the study tells of a trial beside its result, by name."""
    return {
        "trial_id": record.trial_id,
        "status": record.status,
        "replicate": record.replicate,
        "error": record.error,
        "seconds": record.timing.total(),
        "training_seconds": costs[SECONDS],
        "flop": costs[FLOP],
        "parameters": costs[PARAMETERS],
        "tokens": tokens_seen(record),
        "peak_memory_mb": max((e.peak_memory_mb for e in record.epochs), default=None),
    }
