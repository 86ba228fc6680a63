"""The trial of `scaling.py`: sleeps where another trains, and leaves a real record of it.

No torch here: 64 processes of it have to fit into a machine's memory.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from minigpt_search.model.records import COMPLETE, Device, EpochRecord, Timing
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import (
    Start,
    note_start,
    trial_folder,
    write_outcome,
)
from minigpt_search.search.trials.trial import Trial, trials_of

STAMPS = "stamps.json"
STEPS = 1_000
"""That a trial says it has."""
UNEVEN = 0.2
"""Trials last up to so much longer or shorter: no two searches' trials end in step."""
read_once = cache(read_experiment)


def sleep_and_record(
    tune_config: dict[str, Any],
    experiment_folder: Path,
    session: str,
    alone: bool = False,
    *,
    seconds: float,
    reports: float,
    **_: Any,
) -> None:
    """What `search.worker.trainable.run_trials` does, without training.

    Args:
        seconds: mean length of a trial.
        reports: seconds between two reports of its progress.
    """
    from ray import tune

    from minigpt_search.search.trials.reports import OBJECTIVE
    from minigpt_search.search.worker.reporting import last_report

    entered = time.time()
    experiment = read_once(experiment_folder)
    (trial,) = trials_of(experiment, tune_config)
    folder = trial_folder(experiment_folder, trial.trial_id)
    note_start(folder, trial.values, trial.replicate, Start(session=session, from_step=0))
    began = time.time()
    end, costs = began + seconds * (1 - UNEVEN + 2 * UNEVEN * luck(trial)), []
    while (left := end - time.time()) > 0:
        time.sleep(min(left, reports))
        step = int(STEPS * min(1.0, (time.time() - began) / (end - began)))
        start = time.perf_counter()
        tune.report(
            {
                OBJECTIVE: math.log(trial.config.model.vocab_size),
                "kind": "progress",
                "member": trial.trial_id,
                "replicate": trial.replicate,
                "step": step,
                "total_steps": STEPS,
                "train_loss_nats": 8.0,
            }
        )
        costs.append(time.perf_counter() - start)
    slept = time.time()
    record = make_record(experiment, trial, slept - began)
    write_outcome(folder, record)
    stamps = {"worker": os.getpid(), "entered": entered, "began": began, "slept": slept}
    stamps |= {"left": time.time(), "reports": costs}
    (folder / STAMPS).write_text(json.dumps(stamps))
    tune.report(last_report([record]))


def luck(trial: Trial) -> float:
    """A number from 0 to 1 that follows from the trial."""
    return int(hashlib.sha256(trial.trial_id.encode()).hexdigest()[:8], 16) / 2**32


def loss_of(trial: Trial) -> float:
    """Nats: a valley over the rate, an effect of the width, and a trial's own luck."""
    train, model = trial.config.train, trial.config.model
    valley = 0.3 * math.log10(train.lr_peak / 1e-3) ** 2
    return 7.3 + valley - 0.1 * math.log2(model.embed_dim / 128) + 0.02 * luck(trial)


def make_record(experiment: Experiment, trial: Trial, seconds: float) -> TrialRecord:
    """As a trial of that many seconds would have left it: as many epochs as it was to have."""
    epochs = trial.config.train.epochs
    losses = [loss_of(trial) + 0.5 * (epochs / number - 1) for number in range(1, epochs + 1)]
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=COMPLETE,
        epochs=tuple(
            EpochRecord(
                epoch=number,
                train_loss_nats=nats + 0.1,
                val_loss_nats=nats,
                val_perplexity=math.exp(nats),
                val_bits_per_byte=nats / math.log(2) / 4.4,
                lr_last=0.0,
                grad_norm_mean=0.5,
                tokens_seen=number * 1_000_000,
                wall_seconds=seconds * number / epochs,
                steps_per_second=STEPS / max(seconds, 1e-3),
                peak_memory_mb=1_000.0,
            )
            for number, nats in enumerate(losses, start=1)
        ),
        error=None,
        steps=STEPS,
        timing=Timing(training_seconds=seconds),
        device=Device(kind=experiment.machine.device, name="no device", threads=1),
        versions=experiment.provenance.versions,
        checkpoint=None,
        attempts=1,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
