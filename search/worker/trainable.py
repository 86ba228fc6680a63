"""What a Ray worker runs: a thin adapter from the values of trials to `model.training.train`.

Reports to Tune are for the screen and the sampler. The result itself goes through the trial's
folder to the ledger.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ray import tune

from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.model import notes
from minigpt_search.model.config import ModelConfig, RunConfig, trial_id
from minigpt_search.model.hardware.retirement import Retired, retires
from minigpt_search.model.records import STOPPED
from minigpt_search.model.training.train import Hooks, TrainResult, train, train_packed
from minigpt_search.model.training.trunk import share_trunk, train_branches, train_for_longer
from minigpt_search.search.early_stopping.rungs import StoppingDecision
from minigpt_search.search.machines.gpu_share import free_memory, hold_to_share
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import OUT_OF_MEMORY
from minigpt_search.search.records.plan import NEVER
from minigpt_search.search.records.trial_folder import (
    STARTED_FILE,
    Start,
    note_fault,
    note_start,
    read_outcome,
    read_started,
    trial_folder,
    write_outcome,
)
from minigpt_search.search.space.claims_grid import CLAIMS
from minigpt_search.search.sync.worker_files import WorkerFiles, worker_files
from minigpt_search.search.trials.groups import rung_beside
from minigpt_search.search.trials.reports import MEMBER_END, NO_STORAGE, OBJECTIVE, RETIRES
from minigpt_search.search.trials.trial import Trial, trials_of
from minigpt_search.search.worker.faults import (
    DeviceBroken,
    device_fault,
    is_storage_fault,
    known_device,
    memory_kills,
    note_error,
    was_killed_for_memory,
)
from minigpt_search.search.worker.reporting import last_report, tune_hooks
from minigpt_search.search.worker.trial_record import make_record

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
    there is a report of that instead of a record. Raises `DeviceBroken`, with the record written,
    where the process can't use its GPU any more.

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
    last = last_report([record for record in ends if record is not None])
    if (reason := retires()) is not None:
        # All is written: Tune ends this process, and the next one reports it. Tune takes that for
        # a failure, which the driver, who hears of it before, doesn't count.
        tune.report({**last, "kind": RETIRES})
        raise Retired(reason)
    tune.report(last)


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
    notes.begin()
    known_device(experiment.machine.device)  # now: a GPU may be past answering at the end
    killed = not alone and any(_was_killed_for_memory(known) for known in starts)
    attempts = {t.trial_id: len(known) for t, known in zip(left, starts, strict=True)}
    # Where a GPU broke under several trials it can't be told whose fault it was.
    one_by_one = one_by_one or any(start.fault for known in starts for start in known[:-1])
    branches = not one_by_one and share_trunk([trial.config for trial in left])
    each_reports = branches or one_by_one

    def record(trial: Trial, result: TrainResult | str) -> None:
        device = experiment.machine.device
        made = make_record(trial, result, attempts[trial.trial_id], device, notes.kept())
        if (started := read_started(folders[trial.trial_id])) is not None:
            threads_of_attempts = started.threads_of_attempts()
            made = dataclasses.replace(made, threads_of_attempts=threads_of_attempts)
        write_outcome(folders[trial.trial_id], made)
        files.ended(trial.trial_id)
        if each_reports and trial is not left[-1]:  # that one's is the end's report
            tune.report({**last_report([made]), "kind": MEMBER_END, "member": trial.trial_id})

    try:
        if killed:
            for trial in left:
                record(trial, f"{OUT_OF_MEMORY}: this machine killed its process")
            return
        for trial, result in _results(experiment, left, files, branches, one_by_one):
            record(trial, result)
    except DeviceBroken as broken:
        # Let the process end, so that no other trial gets it: Tune starts another for what is left.
        if len(broken.trials) == 1:
            record(broken.trials[0], broken.error)
        else:
            for trial in broken.trials:
                files.wrote(note_fault(folders[trial.trial_id], broken.error))
        raise


def _results(
    experiment: Experiment,
    trials: list[Trial],
    files: WorkerFiles,
    branches: bool,
    one_by_one: bool,
) -> Iterator[tuple[Trial, TrainResult | str]]:
    """Each trial with its result, or with what went wrong in one line. Raises `DeviceBroken`."""
    if branches:
        yield from _train_branches(experiment, trials, files)
    elif one_by_one:
        for trial in trials:
            yield from zip([trial], _train(experiment, [trial], files), strict=True)
    else:
        yield from zip(trials, _train(experiment, trials, files), strict=True)


def _was_killed_for_memory(starts: tuple[Start, ...]) -> bool:
    """Whether the process before this newest start most likely was. Not across sessions: between
    them anything may have happened to the machine."""
    if len(starts) < 2 or starts[-2].session != starts[-1].session:
        return False
    return was_killed_for_memory(starts[-2].memory_kills)


def _train(
    experiment: Experiment, trials: list[Trial], files: WorkerFiles
) -> Iterator[TrainResult | str]:
    """Each trial's result, or what went wrong in one line, while `notes` are those of its run.
    Raises `DeviceBroken`."""
    if not trials:
        return
    notes.begin()  # what fails before it trains has none of the run before
    folders = [trial_folder(files.folder, trial.trial_id) for trial in trials]
    fault, results = None, list[TrainResult]()
    try:
        corpus, configs, hooks, decisions, options = _what_to_train(experiment, trials, files)
        if len(trials) > 1:
            results += train_packed(
                configs, corpus, checkpoint_dirs=folders, hooks=hooks, **options
            )
        else:
            options |= {"checkpoint_dir": folders[0], "hooks": hooks[0]}
            longer = rung_beside(experiment, configs[0], 1)
            of_longer = trial_id(longer, experiment.corpus.content_hash) if longer else ""
            if longer is None or files.has_begun(of_longer):
                options["rungs"] = experiment.plan.stopper is not None
                ended = train(configs[0], corpus, **options)
            else:
                home = trial_folder(files.folder, of_longer)
                ended = train_for_longer(
                    configs[0], corpus, longer=longer, longer_dir=home, **options
                )
            if ended.status == STOPPED:
                ended = dataclasses.replace(ended, error=decisions[0].reason)
            results.append(ended)
    except Exception as exception:  # any fault of one trial must not stop the others
        if is_storage_fault(exception):
            raise
        fault = device_fault(exception)
        error = note_error(exception, fault, folders)
    finally:
        if fault is None:
            free_memory(experiment.machine.device)
    if fault is not None:
        raise DeviceBroken(error, trials)
    if results:
        yield from results
    elif len(trials) == 1:
        yield error
    else:
        for trial in trials:  # the fault may be one's: each goes on alone from its checkpoint
            yield from _train(experiment, [trial], files)


def _train_branches(
    experiment: Experiment, trials: list[Trial], files: WorkerFiles
) -> Iterator[tuple[Trial, TrainResult | str]]:
    """Trials that share a trunk, each with its result as it ends."""
    folders = [trial_folder(files.folder, trial.trial_id) for trial in trials]
    left, fault = list(trials), None
    notes.begin()
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
        fault = device_fault(exception)
        of_left = [trial_folder(files.folder, t.trial_id) for t in left]
        error = note_error(exception, fault, of_left)
    finally:
        if fault is None:
            free_memory(experiment.machine.device)
    if fault is not None:
        raise DeviceBroken(error, left)
    for trial in left:  # the fault may be one's: each goes on alone from its checkpoint
        yield from zip([trial], _train(experiment, [trial], files), strict=True)


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
