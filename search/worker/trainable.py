"""What a Ray worker runs: a thin adapter from the values of trials to `model.training.train`.

Reports to Tune are for the screen and the sampler. The result itself goes through the trial's
folder to the ledger.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
import math
import socket
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from ray import tune

from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.model.config import ModelConfig, RunConfig
from minigpt_search.model.hardware.device import describe_device, versions
from minigpt_search.model.records import FAILED, STOPPED, CheckpointRef, Timing
from minigpt_search.model.training.train import Hooks, TrainResult, train, train_packed
from minigpt_search.model.training.trunk import share_trunk, train_branches
from minigpt_search.search.early_stopping.rungs import StoppingDecision
from minigpt_search.search.machines.gpu_share import hold_to_share
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import OUT_OF_MEMORY, TrialRecord
from minigpt_search.search.records.plan import NEVER
from minigpt_search.search.records.trial_folder import (
    STARTED_FILE,
    Start,
    note_start,
    read_outcome,
    read_started,
    trial_folder,
    write_outcome,
)
from minigpt_search.search.space.claims_grid import CLAIMS
from minigpt_search.search.sync.worker_files import WorkerFiles, worker_files
from minigpt_search.search.trials.reports import MEMBER_END, NO_STORAGE, OBJECTIVE
from minigpt_search.search.trials.trial import Trial, trials_of
from minigpt_search.search.worker.faults import (
    is_out_of_memory,
    is_storage_fault,
    memory_kills,
    was_killed_for_memory,
)
from minigpt_search.search.worker.reporting import last_report, tune_hooks

UNIFORM_NATS = math.log(ModelConfig().vocab_size)


def run_trials(
    tune_config: dict[str, Any],
    experiment_folder: Path,
    session: str,
    alone: bool = False,
    storage: str | None = None,
    uniform: float = UNIFORM_NATS,
) -> None:
    """Train the trials of `tune_config` and leave a record of each: several of a grid as a pack or
    from one trunk, a sampler's replicates one after the other.

    Whatever goes wrong with a trial becomes a record with status `failed`. Only the loss of the
    whole process is left to Tune, which starts the trials again; and where nothing can be written
    there is a report of that instead of a record.

    Args:
        session: names the driver's process.
        alone: whether the trial has the whole device, whatever the experiment says.
        storage: where the experiment is; None: in `experiment_folder`.
        uniform: the loss in nats that stands for none, ln V: that of a uniform prediction.
    """
    if storage is not None:  # its machines count each for itself what was killed for memory
        session = f"{session}@{socket.gethostname()}"
    try:
        with worker_files(experiment_folder, storage) as (files, experiment):
            trials = trials_of(experiment, tune_config)
            files.begin([trial.trial_id for trial in trials])
            one_by_one = "pack" not in tune_config
            _train_what_is_left(experiment, trials, files, session, alone, one_by_one)
            ends = [read_outcome(trial_folder(files.folder, t.trial_id)) for t in trials]
    except OSError as error:
        if not is_storage_fault(error):
            raise
        no_storage = {OBJECTIVE: uniform, "kind": "end", "status": NO_STORAGE, "error": str(error)}
        tune.report(no_storage)
        return
    tune.report(last_report([record for record in ends if record is not None]))


def _train_what_is_left(
    experiment: Experiment,
    trials: list[Trial],
    files: WorkerFiles,
    session: str,
    alone: bool,
    one_by_one: bool,
) -> None:
    """Train those without an outcome and write theirs. Raises OSError if it can't be written."""
    folders = {t.trial_id: trial_folder(files.folder, t.trial_id) for t in trials}
    left = [t for t in trials if read_outcome(folders[t.trial_id]) is None]
    threads = experiment.machine.threads_per_trial
    start = Start(session=session, memory_kills=memory_kills(), threads=threads)
    starts = [note_start(folders[t.trial_id], t.values, t.replicate, start).starts for t in left]
    for trial in left:
        files.wrote(folders[trial.trial_id] / STARTED_FILE)
    # Workers are reused between trials, so whatever is global is set at each start.
    torch.set_num_threads(threads)
    gc.freeze()  # modules stay: the collection after a trial took 0.17 s to go over them
    hold_to_share(experiment.machine.device, 1.0 if alone else experiment.machine.gpus_per_trial)
    killed = not alone and any(_was_killed_for_memory(known) for known in starts)
    attempts = {t.trial_id: len(known) for t, known in zip(left, starts, strict=True)}
    branches = not one_by_one and share_trunk([trial.config for trial in left])
    results: Iterable[tuple[Trial, TrainResult | str]]
    if killed:
        results = [(t, f"{OUT_OF_MEMORY}: this machine killed its process") for t in left]
    elif branches:
        results = _train_branches(experiment, left, files)
    elif one_by_one:
        results = ((t, _train(experiment, [t], files)[0]) for t in left)
    else:
        results = zip(left, _train(experiment, left, files), strict=True)
    for trial, result in results:
        record = make_record(trial, result, attempts[trial.trial_id], experiment.machine.device)
        if (started := read_started(folders[trial.trial_id])) is not None:
            threads_of_attempts = started.threads_of_attempts()
            record = dataclasses.replace(record, threads_of_attempts=threads_of_attempts)
        write_outcome(folders[trial.trial_id], record)
        files.ended(trial.trial_id)
        if (branches or one_by_one) and trial is not left[-1]:  # that one's is the end's report
            tune.report({**last_report([record]), "kind": MEMBER_END, "member": trial.trial_id})


def _was_killed_for_memory(starts: tuple[Start, ...]) -> bool:
    """Whether the process before this newest start most likely was. Not across sessions: between
    them anything may have happened to the machine."""
    if len(starts) < 2 or starts[-2].session != starts[-1].session:
        return False
    return was_killed_for_memory(starts[-2].memory_kills)


def _train(
    experiment: Experiment, trials: list[Trial], files: WorkerFiles
) -> list[TrainResult | str]:
    """Each trial's result, or what went wrong in one line."""
    if not trials:
        return []
    folders = [trial_folder(files.folder, trial.trial_id) for trial in trials]
    try:
        corpus, configs, hooks, decisions, options = _what_to_train(experiment, trials, files)
        if len(trials) > 1:
            return [*train_packed(configs, corpus, checkpoint_dirs=folders, hooks=hooks, **options)]
        options["rungs"] = experiment.plan.stopper is not None
        ended = train(configs[0], corpus, checkpoint_dir=folders[0], hooks=hooks[0], **options)
        if ended.status == STOPPED:
            ended = dataclasses.replace(ended, error=decisions[0].reason)
        return [ended]
    except Exception as exception:  # any fault of one trial must not stop the others
        if is_storage_fault(exception):
            raise
        error = _note_fault(exception, folders)
    finally:
        _free_memory(experiment)
    if len(trials) == 1:
        return [error]
    # The fault may be one member's: each goes on alone from its checkpoint.
    return [result for trial in trials for result in _train(experiment, [trial], files)]


def _train_branches(
    experiment: Experiment, trials: list[Trial], files: WorkerFiles
) -> Iterator[tuple[Trial, TrainResult | str]]:
    """Trials that share a trunk, each with its result as it ends."""
    folders = [trial_folder(files.folder, trial.trial_id) for trial in trials]
    left = list(trials)
    try:
        corpus, configs, hooks, _, options = _what_to_train(experiment, trials, files)
        for number, result in train_branches(
            configs, corpus, checkpoint_dirs=folders, hooks=hooks, **options
        ):
            left.remove(trials[number])
            yield trials[number], result
        return
    except Exception as exception:  # as in `_train`
        if is_storage_fault(exception):
            raise
        _note_fault(exception, [trial_folder(files.folder, t.trial_id) for t in left])
    finally:
        _free_memory(experiment)
    for trial in left:  # the fault may be one's: each goes on alone from its checkpoint
        yield trial, _train(experiment, [trial], files)[0]


def _what_to_train(
    experiment: Experiment, trials: list[Trial], files: WorkerFiles
) -> tuple[Corpus, list[RunConfig], list[Hooks], list[StoppingDecision], dict[str, Any]]:
    """Corpus, configurations, hooks, who decides at rungs, and what else `train` is told."""
    corpus = open_corpus(experiment.corpus_folder(files.folder))
    stopper = experiment.plan.stopper or NEVER
    # A rung says too little of a run's end to settle what --confirm is for.
    rules = [NEVER if trial.replicate >= experiment.noise.seeds else stopper for trial in trials]
    decisions = [
        StoppingDecision(rule, files.folder, t.trial_id, t.config, files.scored, files.wrote)
        for rule, t in zip(rules, trials, strict=True)
    ]
    at_a_time = experiment.machine.max_concurrent
    hooks = [tune_hooks(t, files, d, at_a_time) for t, d in zip(trials, decisions, strict=True)]
    options: dict[str, Any] = {
        "device": experiment.machine.device,
        "checkpoint_every_seconds": experiment.machine.checkpoint_every_seconds,
        "score_training": experiment.space.named_grid == CLAIMS,  # the claim of no overfitting
    }
    return corpus, [trial.config for trial in trials], hooks, decisions, options


def _note_fault(exception: Exception, folders: list[Path]) -> str:
    """Leave the traceback in the folders; the error in one line."""
    for folder in folders:
        text = "".join(traceback.format_exception(exception))
        (folder / "error.log").write_text(text, encoding="utf-8", errors="backslashreplace")
    error = f"{type(exception).__name__}: {(str(exception).splitlines() or [''])[0]}"
    return f"{OUT_OF_MEMORY}: {error}" if is_out_of_memory(exception) else error


def _free_memory(experiment: Experiment) -> None:
    gc.collect()
    if experiment.machine.device == "cuda":
        # One for each stream that multiplied, 32 MiB on a Hopper, and each trial has streams of
        # its own (pytorch#99196).
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


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
        trunk_steps=result.trunk_steps if result else 0,
        trunk_seconds=result.trunk_seconds if result else 0.0,
        rungs=result.rungs if result else (),
        curve=result.curve if result else None,
        val_documents=result.val_documents if result else None,
        train_eval_loss_nats=result.train_eval_loss_nats if result else None,
    )
