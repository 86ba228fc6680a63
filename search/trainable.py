"""What a Ray worker runs: a thin adapter from a trial's values to `model.train`.

Reports to Tune are for the screen and the sampler. The result itself goes through the trial's
folder to the ledger.
"""

from __future__ import annotations

import datetime
import gc
import math
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from data.corpus import open_corpus
from model.device import describe_device, versions
from model.records import COMPLETE, FAILED, CheckpointRef, EpochRecord, Timing
from model.train import Hooks, Progress, TrainResult, train
from search.experiment import Experiment, read_experiment
from search.ledger import TrialRecord
from search.plan import Trial, trial_of
from search.sharing import hold_to_share
from search.trial_folder import begin_attempt, read_outcome, trial_folder, write_outcome

OBJECTIVE = "objective"
"""The metric a sampler minimises: validation loss in nats, always finite."""


def run_trial(tune_config: dict[str, Any], experiment_folder: Path) -> None:
    """Train the trial of `tune_config` and leave its record.

    Whatever goes wrong inside becomes a record with status `failed`; only the loss of the whole
    process is left to Tune, which starts the trial again.
    """
    experiment = read_experiment(experiment_folder)
    trial = trial_of(experiment, tune_config)
    folder = trial_folder(experiment_folder, trial.trial_id)
    record = read_outcome(folder)
    if record is None:
        attempts = begin_attempt(folder, trial.values, trial.replicate)
        corpus = experiment.corpus_folder(experiment_folder)
        record = _train_to_record(experiment, trial, corpus, folder, attempts)
        write_outcome(folder, record)
    tune.report(_last_report(record))


def _train_to_record(
    experiment: Experiment, trial: Trial, corpus: Path, folder: Path, attempts: int
) -> TrialRecord:
    # Workers are reused between trials, so whatever is global is set at each start.
    torch.set_num_threads(experiment.threads_per_trial)
    hold_to_share(experiment.device, experiment.gpus_per_trial)
    result, error = None, None
    try:
        result = train(
            trial.config,
            open_corpus(corpus),
            device=experiment.device,
            checkpoint_dir=folder,
            hooks=_tune_hooks(trial),
        )
    except Exception as exception:  # noqa: BLE001 - any fault of one trial must not stop the others
        (folder / "error.log").write_text(traceback.format_exc())
        error = f"{type(exception).__name__}: {(str(exception).splitlines() or [''])[0]}"
    finally:
        gc.collect()
        if experiment.device == "cuda":
            torch.cuda.empty_cache()
    return make_record(trial, result, error, attempts, experiment.device)


def make_record(
    trial: Trial, result: TrainResult | None, error: str | None, attempts: int, device: str
) -> TrialRecord:
    """The ledger's record of a trial that ended with `result`, or with `error` and none."""
    checkpoint = result.checkpoint if result else None
    if checkpoint is not None:
        path = f"checkpoints/{trial.trial_id}/{checkpoint.path}"
        checkpoint = CheckpointRef(path=path, sha256=checkpoint.sha256)
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=result.status if result else FAILED,
        epochs=result.epochs if result else (),
        error=result.error if result else error,
        steps=result.steps if result else 0,
        timing=result.timing if result else Timing(),
        device=result.device if result else describe_device(device),
        versions=versions(),
        checkpoint=checkpoint,
        attempts=attempts,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _tune_hooks(trial: Trial) -> Hooks:
    # Tune wants the metric in every report; before the first epoch there is only the loss of
    # guessing evenly.
    objective = math.log(trial.config.model.vocab_size)

    def on_progress(progress: Progress) -> None:
        tune.report(
            {
                OBJECTIVE: objective,
                "kind": "progress",
                "step": progress.step,
                "total_steps": progress.total_steps,
                "train_loss_nats": progress.train_loss_nats,
            }
        )

    def on_epoch(record: EpochRecord) -> None:
        nonlocal objective
        objective = record.val_loss_nats
        tune.report(
            {
                OBJECTIVE: objective,
                "kind": "epoch",
                "epoch": record.epoch,
                "train_loss_nats": record.train_loss_nats,
                "val_loss_nats": record.val_loss_nats,
                "lr": record.lr_last,
            }
        )

    return Hooks(on_progress=on_progress, on_epoch=on_epoch)


def _last_report(record: TrialRecord) -> dict[str, Any]:
    """A trial without a result reports the loss of guessing evenly: a sampler that is told
    nothing would try the same region again."""
    guessing = math.log(record.config.model.vocab_size)
    return {
        OBJECTIVE: record.final.val_loss_nats if record.status == COMPLETE else guessing,
        "kind": "end",
        "status": record.status,
    }
