"""`study.db`: the experiment in Optuna's own format, for `optuna-dashboard` and its plots.

Written whole from the ledger, never used as the search's state (a database written while
trials run is ahead of the executor after a kill).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from model.records import COMPLETE, STOPPED
from search.axes import AXES
from search.experiment import Experiment
from search.ledger import Ledger, TrialRecord
from search.rung_files import record_curve
from search.sampler import axis_distribution

_STATES = {COMPLETE: TrialState.COMPLETE, STOPPED: TrialState.PRUNED}
"""Every other status is a failure to Optuna."""


def write_study(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Replace `study.db` by one that holds the ledger's trials. Raises OSError if it can't be."""
    temporary = folder / "study.db.tmp"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        temporary.unlink(missing_ok=True)
        _write(experiment, temporary, ledger)
        os.replace(temporary, folder / "study.db")
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = getattr(error.__cause__ or error, "orig", None) or error
        raise OSError(f"{folder / 'study.db'}: {reason}") from None
    finally:
        for left_over in folder.glob("study.db.tmp*"):
            with suppress(OSError):
                left_over.unlink()


def _write(experiment: Experiment, path: Path, ledger: Ledger) -> None:
    url = URL.create("sqlite", database=str(path))  # a path may hold a `?` or `#`
    storage = optuna.storages.RDBStorage(url.render_as_string())
    try:
        study = optuna.create_study(
            storage=storage, study_name=experiment.name, direction="minimize"
        )
        study.add_trials([_frozen(experiment, record) for record in ledger.trials])
    finally:
        storage.engine.dispose()


def _frozen(experiment: Experiment, record: TrialRecord) -> FrozenTrial:
    state = _STATES.get(record.status, TrialState.FAIL)
    return optuna.trial.create_trial(
        state=state,
        value=record.final.val_loss_nats if state == TrialState.COMPLETE else None,
        params={name: AXES[name].value(record.config) for name in experiment.axes},
        distributions={
            name: axis_distribution(name, *values)
            if experiment.sampler
            else CategoricalDistribution(values)
            for name, values in experiment.axes.items()
        },
        intermediate_values=record_curve(record)
        if record.rungs
        else {epoch.epoch: epoch.val_loss_nats for epoch in record.epochs},
        user_attrs={
            "trial_id": record.trial_id,
            "status": record.status,
            "replicate": record.replicate,
            "error": record.error,
            "seconds": record.timing.total(),
        },
    )
