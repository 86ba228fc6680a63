"""`study.db`: the experiment in Optuna's own format, for `optuna-dashboard` and its plots.

Written whole from the ledger, never used as the search's state (FACTS: a database written while
trials run is ahead of the executor after a kill).
"""

from __future__ import annotations

import os
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL

from model.records import COMPLETE, STOPPED
from search.axes import AXES
from search.experiment import Experiment
from search.ledger import Ledger, TrialRecord
from search.sampler import axis_distribution

_STATES = {COMPLETE: TrialState.COMPLETE, STOPPED: TrialState.PRUNED}
"""Every other status is a failure to Optuna."""


def write_study(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Replace `study.db` by one that holds the ledger's trials."""
    temporary = folder / "study.db.tmp"
    temporary.unlink(missing_ok=True)
    url = URL.create("sqlite", database=str(temporary))  # a path may hold a `?` or `#`
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(url.render_as_string())
    try:
        study = optuna.create_study(
            storage=storage, study_name=experiment.name, direction="minimize"
        )
        study.add_trials([_frozen(experiment, record) for record in ledger.trials])
    finally:
        storage.engine.dispose()
    os.replace(temporary, folder / "study.db")


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
        intermediate_values={epoch.epoch: epoch.val_loss_nats for epoch in record.epochs},
        user_attrs={
            "trial_id": record.trial_id,
            "status": record.status,
            "replicate": record.replicate,
            "error": record.error,
            "seconds": record.timing.total(),
        },
    )
