"""Runs what an experiment plans and its ledger lacks, on Ray Tune.

Ray executes, the ledger remembers: none of Ray's own state is read again. Each run gets a fresh
Tuner for the unfinished trials, and each trial goes on from its own newest checkpoint.
`search.environment.prepare_environment` must have been called before this is imported.
"""

from __future__ import annotations

import functools
import importlib
import logging
import math
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from model.batches import RunLength
from model.records import COMPLETE
from search.axes import AXES
from search.events import TensorBoardEvents
from search.experiment import Experiment
from search.forgetting import ForgetMetrics
from search.interruption import Interruption
from search.ledger import Ledger
from search.packing import make_packs
from search.plan import Trial, grid_trials, steps_flops
from search.progress import ProgressLine
from search.recorder import Recorder, collect_outcomes
from search.sampler import LedgerOptunaSearch
from search.trainable import run_trials
from search.trial_folder import forget_outcome, read_started, trial_folder

RAY_FAILURES = (RayError, TuneError)
"""What Ray raises when it can't go on; the ledger is whole all the same."""
MAX_FAILURES = 2
"""How often a trial whose process was lost is started again."""


def run_search(
    experiment: Experiment, folder: Path, ledger: Ledger, length: Callable[[Trial], RunLength]
) -> None:
    """Train every planned trial that the ledger lacks; `ledger` grows as they end.

    `length` gives a trial's number of steps, for the progress line.
    """
    collect_outcomes(experiment, folder, ledger)
    for record in ledger.trials:
        if record.trial_id not in ledger.ended():
            forget_outcome(trial_folder(folder, record.trial_id))
    missing = experiment.planned_trials - len(ledger.ended())
    if missing <= 0:
        return
    trials = grid_trials(experiment) if experiment.sampler is None else []
    work = {t.trial_id: steps_flops(t.config, length(t).total_steps) for t in trials}
    events = TensorBoardEvents(experiment, folder)
    progress = ProgressLine(experiment, ledger, work, experiment.planned_trials)
    interruption = Interruption()
    recorder = Recorder(experiment, folder, ledger)
    callbacks = [interruption, recorder, events, progress, ForgetMetrics()]
    try:
        with _local_ray(experiment), _scratch(folder / "ray") as scratch:
            interruption.listen()  # only now: `ray.init` puts a handler of its own, which aborts
            _make_tuner(experiment, folder, ledger, trials, missing, callbacks, scratch).fit()
    finally:
        interruption.stop_listening()
        events.close()
        progress.close()


def _make_tuner(
    experiment: Experiment,
    folder: Path,
    ledger: Ledger,
    trials: list[Trial],
    missing: int,
    callbacks: list[tune.Callback],
    scratch: Path,
) -> tune.Tuner:
    resources = {"cpu": experiment.threads_per_trial, "gpu": experiment.gpus_per_trial}
    trainable = functools.partial(run_trials, experiment_folder=folder)
    options: dict[str, Any] = {}
    space: dict[str, Any] = {}
    if experiment.sampler is None:
        missing_trials = [t for t in trials if t.trial_id not in ledger.ended()]
        space["pack"] = tune.grid_search(
            [
                [{"values": t.values, "replicate": t.replicate} for t in pack]
                for pack in make_packs(missing_trials, experiment.pack)
            ]
        )
    else:
        options["search_alg"] = _make_search(experiment, folder, ledger)
        options["num_samples"] = missing
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=experiment.max_concurrent,
            reuse_actors=True,  # a fresh process costs 2 s a trial
            trial_dirname_creator=lambda trial: trial.trial_id,
            **options,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            callbacks=callbacks,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        ),
    )


def _make_search(experiment: Experiment, folder: Path, ledger: Ledger) -> LedgerOptunaSearch:
    assert experiment.sampler is not None
    finished = []
    for record in ledger.trials:
        if record.trial_id in ledger.ended():
            values = {name: AXES[name].value(record.config) for name in experiment.axes}
            guessing = math.log(record.config.model.vocab_size)
            loss = record.final.val_loss_nats if record.status == COMPLETE else guessing
            finished.append((values, loss))
    started = sorted(
        (folder / "checkpoints").glob("*/trial.json"), key=lambda path: path.stat().st_mtime
    )
    unfinished = [
        read_started(path.parent)["values"]  # type: ignore[index]
        for path in started
        if path.parent.name not in ledger.ended()
    ]
    return LedgerOptunaSearch(
        ranges=experiment.axes,
        sampler=experiment.sampler,
        base_seed=experiment.base_seed,
        finished=finished,
        unfinished=unfinished,
    )


@contextmanager
def _local_ray(experiment: Experiment) -> Iterator[None]:
    """A Ray of our own on this machine, silent, gone at the end."""
    # A lost process is told by the progress line, in one line instead of thirty.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ray.init(
            address="local",  # never a cluster that happens to run here
            num_cpus=experiment.max_concurrent * experiment.threads_per_trial,
            num_gpus=len(experiment.hardware["gpus"]) if experiment.device == "cuda" else 0,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    try:
        yield
    finally:
        # Ray's processes take a second to end and this one waits for them: time to load what
        # study.db needs.
        loading = threading.Thread(target=_load_study)
        loading.start()
        ray.shutdown()
        loading.join()


def _load_study() -> None:
    for name in ("search.study", "sqlalchemy.orm", "alembic.command"):
        importlib.import_module(name)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for what Tune writes of its own, empty at the start, gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
