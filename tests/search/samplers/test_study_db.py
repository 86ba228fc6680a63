"""`study.db` says of every trial what the ledger does, in a form that Optuna reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger, TrialRecord
from minigpt_search.search.samplers.study_db import write_study
from minigpt_search.search.trials.trial import make_trial

TPE = ("--search", "tpe", "--trials", "4", "--grid", "lr,embed_dim,tie_head,dropout")
VALUES = [
    {"lr": 1e-3, "embed_dim": 64, "tie_head": True, "dropout": 0.0},
    {"lr": 2e-3, "embed_dim": 32, "tie_head": False, "dropout": 0.1},
    {"lr": 3e-3, "embed_dim": 32, "tie_head": True, "dropout": 0.2},
    {"lr": 4e-3, "embed_dim": 96, "tie_head": True, "dropout": 0.3},
]


def written(
    experiment: Experiment, folder: Path, make: Callable[..., TrialRecord]
) -> tuple[optuna.Study, list[TrialRecord]]:
    """The study of four trials, one of each status."""
    ledger = Ledger(folder / "ledger.jsonl")
    statuses = (COMPLETE, STOPPED, DIVERGED, FAILED)
    for number, (values, status) in enumerate(zip(VALUES, statuses, strict=True)):
        trial = make_trial(experiment, values, 0)
        record = make(trial.trial_id, 7.0 - number / 4, status, 10.0 * (number + 1))
        ledger.append(dataclasses.replace(record, config=trial.config))
    write_study(experiment, folder, ledger)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    study = optuna.load_study(study_name=experiment.name, storage=storage)
    return study, ledger.trials


def plan(*words: str) -> Experiment:
    args = make_parser().parse_args([*words, "--preset", "quick", "--name", "s"])
    check_options(args)
    return make_experiment(args, "cpu")


def test_every_state_value_and_number(
    tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    study, records = written(plan(*TPE), tmp_path, make_trial_record)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert [trial.state for trial in study.trials] == states
    assert study.best_value == 7.0 and study.best_params == VALUES[0]
    for trial, record, values in zip(study.trials, records, VALUES, strict=True):
        assert trial.params == values
        thousandths = 1000 / record.config.train.epochs
        curve = {round(e.epoch * thousandths): e.val_loss_nats for e in record.epochs}
        assert trial.intermediate_values == curve
        tokens = record.epochs[-1].tokens_seen
        assert trial.user_attrs == {
            "trial_id": record.trial_id,
            "status": record.status,
            "replicate": 0,
            "error": record.error,
            "seconds": record.timing.total(),
            "training_seconds": record.timing.training_seconds,
            "flop": tokens * flops_per_token(record.config.model),
            "parameters": parameter_count(record.config.model),
            "tokens": tokens,
            "peak_memory_mb": 402.0,
        }
        assert trial.duration is not None
        assert trial.duration.total_seconds() == pytest.approx(record.timing.total())
    assert study.trials[0].distributions == {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "embed_dim": IntDistribution(32, 256, step=32),
        "tie_head": CategoricalDistribution((True, False)),
        "dropout": FloatDistribution(0.0, 0.4),
    }


def test_two_objectives_and_a_limit(
    tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    experiment = plan(*TPE, "--objective", "val_loss,seconds", "--max-cost", "5s")
    study, records = written(experiment, tmp_path, make_trial_record)
    assert study.metric_names == ["val_loss_nats", "training_seconds"]
    assert study.trials[0].values == [7.0, 10.0]
    assert [list(trial.constraints.values()) for trial in study.trials] == [[5], [15], [25], [35]]
    assert study.best_trials == []  # the one that is complete is above the limit
    assert records[0].status == COMPLETE
