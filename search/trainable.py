"""What a Ray worker runs: a thin adapter from the values of trials to `model.train`.

Reports to Tune are for the screen and the sampler. The result itself goes through the trial's
folder to the ledger.
"""

from __future__ import annotations

import datetime
import gc
import math
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from data.corpus import open_corpus
from model.device import describe_device, versions
from model.records import COMPLETE, FAILED, CheckpointRef, EpochRecord, Timing
from model.train import Hooks, Progress, TrainResult, train, train_packed
from search.experiment import Experiment, read_experiment
from search.ledger import TrialRecord
from search.plan import Trial, trials_of
from search.sharing import hold_to_share
from search.trial_folder import begin_attempt, read_outcome, trial_folder, write_outcome

OBJECTIVE = "objective"
"""The metric a sampler minimises: validation loss in nats, always finite."""
REPORT_EVERY_SECONDS = 1.9
"""At least this between two reports of progress: `train` tells of it once a second, and a report
costs 4 ms (FACTS), of which the screen needs one each two seconds."""


def run_trials(tune_config: dict[str, Any], experiment_folder: Path) -> None:
    """Train the trials of `tune_config`, several as a pack, and leave a record of each.

    Whatever goes wrong inside becomes a record with status `failed`; only the loss of the whole
    process is left to Tune, which starts the trials again.
    """
    experiment = read_experiment(experiment_folder)
    trials = trials_of(experiment, tune_config)
    left = [t for t in trials if read_outcome(trial_folder(experiment_folder, t.trial_id)) is None]
    attempts = [
        begin_attempt(trial_folder(experiment_folder, t.trial_id), t.values, t.replicate)
        for t in left
    ]
    # Workers are reused between trials, so whatever is global is set at each start.
    torch.set_num_threads(experiment.threads_per_trial)
    gc.freeze()  # modules stay: the collection after a trial took 0.17 s to go over them
    hold_to_share(experiment.device, experiment.gpus_per_trial)
    results = _train(experiment, left, experiment_folder)
    for trial, result, attempt in zip(left, results, attempts, strict=True):
        record = make_record(trial, result, attempt, experiment.device)
        write_outcome(trial_folder(experiment_folder, trial.trial_id), record)
    last = read_outcome(trial_folder(experiment_folder, trials[-1].trial_id))
    assert last is not None
    tune.report(_last_report(last))


def _train(
    experiment: Experiment, trials: list[Trial], experiment_folder: Path
) -> list[TrainResult | str]:
    """Each trial's result, or what went wrong in one line."""
    if not trials:
        return []
    folders = [trial_folder(experiment_folder, trial.trial_id) for trial in trials]
    try:
        corpus = open_corpus(experiment.corpus_folder(experiment_folder))
        device, hooks = experiment.device, [_tune_hooks(trial) for trial in trials]
        configs = [trial.config for trial in trials]
        if len(trials) > 1:
            return [
                *train_packed(configs, corpus, device=device, checkpoint_dirs=folders, hooks=hooks)
            ]
        result = train(configs[0], corpus, device=device, checkpoint_dir=folders[0], hooks=hooks[0])
        return [result]
    except Exception as exception:  # noqa: BLE001 - any fault of one trial must not stop the others
        for folder in folders:
            (folder / "error.log").write_text(traceback.format_exc())
        error = f"{type(exception).__name__}: {(str(exception).splitlines() or [''])[0]}"
    finally:
        gc.collect()
        if experiment.device == "cuda":
            torch.cuda.empty_cache()
    if len(trials) == 1:
        return [error]
    # The fault may be one member's: each goes on alone from its checkpoint.
    return [result for trial in trials for result in _train(experiment, [trial], experiment_folder)]


def make_record(trial: Trial, ended: TrainResult | str, attempts: int, device: str) -> TrialRecord:
    """The ledger's record of a trial that ended with a result, or with an error in one line."""
    result = None if isinstance(ended, str) else ended
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
        error=ended if isinstance(ended, str) else ended.error,
        steps=result.steps if result else 0,
        timing=result.timing if result else Timing(),
        device=result.device if result else describe_device(device),
        versions=versions(),
        checkpoint=checkpoint,
        attempts=attempts,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        pack=result.pack if result else 1,
    )


def _tune_hooks(trial: Trial) -> Hooks:
    # Tune wants the metric in every report; before the first epoch there is only the loss of
    # guessing evenly.
    objective = math.log(trial.config.model.vocab_size)
    reported_at = -math.inf

    def on_progress(progress: Progress) -> None:
        nonlocal reported_at
        now = time.monotonic()
        if now - reported_at < REPORT_EVERY_SECONDS:
            return
        reported_at = now
        tune.report(
            {
                OBJECTIVE: objective,
                "kind": "progress",
                "member": trial.trial_id,
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
                "member": trial.trial_id,
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
