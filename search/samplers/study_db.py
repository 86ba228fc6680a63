"""`study.db`: the experiment in Optuna's own format, for `optuna-dashboard` and its plots.

Written whole from the ledger, never used as the search's state (a database written while
trials run is ahead of the executor after a kill).
"""

from __future__ import annotations

import datetime
import warnings
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from minigpt_search.data.common.files import atomic_file
from minigpt_search.model.records import COMPLETE, STOPPED
from minigpt_search.search.early_stopping.rungs import record_curve
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger, TrialRecord
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

_STATES = {COMPLETE: TrialState.COMPLETE, STOPPED: TrialState.PRUNED}
"""Every other status is a failure to Optuna."""
_METRICS = {
    LOSS: "val_loss_nats",
    FLOP: FLOP,
    SECONDS: "training_seconds",
    PARAMETERS: "parameters",
}


def write_study(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Replace `study.db` by one that holds the ledger's trials. Raises OSError if it can't be."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with atomic_file(folder / "study.db") as file:  # an empty file is an empty database
            _write(experiment, Path(file.name), ledger)
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = getattr(error.__cause__ or error, "orig", None) or error
        raise OSError(f"{folder / 'study.db'}: {reason}") from None
    finally:
        for left_over in folder.glob("study.db.*.tmp*"):
            with suppress(OSError):
                left_over.unlink()


def _write(experiment: Experiment, path: Path, ledger: Ledger) -> None:
    url = URL.create("sqlite", database=str(path))  # a path may hold a `?` or `#`
    storage = optuna.storages.RDBStorage(url.render_as_string())
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=experiment.name,
            directions=["minimize"] * len(experiment.plan.objectives),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([_METRICS[name] for name in experiment.plan.objectives])
        if experiment.plan.max_cost is not None:
            study.set_user_attr("max_cost", experiment.plan.max_cost)
        study.add_trials([_frozen(experiment, record) for record in ledger.trials])
    finally:
        storage.engine.dispose()


def _frozen(experiment: Experiment, record: TrialRecord) -> FrozenTrial:
    state = _STATES.get(record.status, TrialState.FAIL)
    limit = parse_max_cost(experiment.plan.max_cost)
    costs = {unit: cost_of_record(record, unit) for unit in COSTS}
    result = None
    if state == TrialState.COMPLETE:
        further = experiment.plan.objectives[1:]
        result = [record.final.val_loss_nats, *(costs[unit] for unit in further)]
    trial = optuna.trial.create_trial(
        state=state,
        values=result,
        params={name: AXES[name].value(record.config) for name in experiment.space.axes},
        distributions={
            name: distribution(experiment.space, name)
            if experiment.plan.sampler
            else CategoricalDistribution(values)
            for name, values in experiment.space.axes.items()
        },
        intermediate_values=record_curve(record),
        user_attrs={
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
        },
        # In Optuna's older form, the one that optuna-dashboard shows as "infeasible".
        system_attrs={} if limit is None else {"constraints": [costs[limit.unit] - limit.most]},
    )
    # Optuna's own would be the moment at which this file is written.
    ended = datetime.datetime.fromisoformat(record.ended_at).replace(tzinfo=None)
    trial.datetime_complete = ended
    trial.datetime_start = ended - datetime.timedelta(seconds=record.timing.total())
    return trial
