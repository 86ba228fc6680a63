"""Faults that break a GPU's context for the rest of the process: the cause is recorded, the process
ends, and what shared it goes on in another. The GPU is a stand-in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.search.driver.recorder import Recorder
from minigpt_search.search.machines.cluster import Cluster
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import (
    Start,
    note_fault,
    note_start,
    read_outcome,
    read_started,
    trial_folder,
)
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker import trainable
from minigpt_search.search.worker.faults import DeviceBroken, device_fault, known_device

ASSERT = "CUDA error: device-side assert triggered"
NO_HANDLE = "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def break_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU at which every call fails from now on."""

    def fail(*_: object) -> None:
        raise torch.AcceleratorError(f"{ASSERT}\nCompile with `TORCH_USE_CUDA_DSA` to ...")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", fail, raising=False)


@pytest.mark.parametrize(
    "message",
    [
        f"{ASSERT}\nCUDA kernel errors might be reported at some other call",
        "CUDA error: an illegal memory access was encountered",
        "Triton Error [CUDA]: misaligned address",
        "CUDA error: unspecified launch failure",
    ],
)
def test_a_fault_that_lasts_is_known_by_cudas_words(message: str) -> None:
    assert device_fault(torch.AcceleratorError(message)) == message.splitlines()[0]
    assert device_fault(ValueError(message)) is None  # a value in a user's file, say


def test_what_waits_behind_an_error_is_found(break_gpu: None) -> None:
    assert device_fault(RuntimeError(NO_HANDLE)) == ASSERT
    assert device_fault(torch.OutOfMemoryError("CUDA out of memory.")) == ASSERT


def test_a_gpu_that_answers_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert device_fault(RuntimeError(NO_HANDLE)) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"{ASSERT}\nmore", f"AcceleratorError: {ASSERT}"),
        (NO_HANDLE, f"AcceleratorError: {NO_HANDLE}, after {ASSERT}"),
    ],
)
def test_the_cause_is_written_before_the_process_ends(
    experiment: Experiment,
    tmp_path: Path,
    run_worker: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    break_gpu: None,
    message: str,
    expected: str,
) -> None:
    folder = tmp_path / "experiments" / "x"
    (folder / "experiment.json").unlink()
    experiment.replace(device="cuda", gpus_per_trial=1.0).write(folder)
    trial = grid_trials(experiment)[0]

    def broken(*_: object, **__: object) -> None:
        raise torch.AcceleratorError(message)

    monkeypatch.setattr(trainable, "train", broken)
    with pytest.raises(DeviceBroken):  # which ends the process
        run_worker(trial)
    home = trial_folder(folder, trial.trial_id)
    record = read_outcome(home)
    assert record is not None and (record.status, record.error) == (FAILED, expected)
    assert record.device.kind == "cuda" and not record.is_out_of_memory
    assert "AcceleratorError" in (home / "error.log").read_text()
    assert run_worker(trial)[-1]["status"] == FAILED  # another process has nothing to do


def test_members_of_a_pack_go_on_apart_and_the_one_at_fault_is_found(
    experiment: Experiment,
    tmp_path: Path,
    run_worker: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "experiments" / "x"
    trials = grid_trials(experiment)
    homes = [trial_folder(folder, trial.trial_id) for trial in trials]
    train = trainable.train

    def broken(config: Any, *args: Any, **options: Any) -> Any:
        if isinstance(config, list) or config == trials[0].config:
            raise torch.AcceleratorError(ASSERT)
        return train(config, *args, **options)

    monkeypatch.setattr(trainable, "train_packed", broken)
    monkeypatch.setattr(trainable, "train", broken)
    with pytest.raises(DeviceBroken):
        run_worker(*trials)
    assert [read_outcome(home) for home in homes] == [None, None]
    started = read_started(homes[1])
    assert started is not None and started.starts[-1].fault == f"AcceleratorError: {ASSERT}"
    with pytest.raises(DeviceBroken):
        run_worker(*trials)
    assert read_outcome(homes[1]) is None
    reports = run_worker(*trials)
    ends = [read_outcome(home) for home in homes]
    assert [(end.status, end.attempts) for end in ends if end] == [(FAILED, 2), (COMPLETE, 3)]
    assert ends[0] is not None and ends[0].error == f"AcceleratorError: {ASSERT}"
    assert reports[-1]["kind"] == "end"


@pytest.mark.parametrize("machines", [LocalMachines([]), Cluster("auto", {})])
def test_every_member_of_a_pack_may_break_a_gpu(
    experiment: Experiment,
    tmp_path: Path,
    run_worker: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    machines: Machines,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError(ASSERT)

    monkeypatch.setattr(trainable, "train_packed", broken)
    monkeypatch.setattr(trainable, "train", broken)
    trials = grid_trials(experiment)
    failures = 0
    while failures <= machines.failures_of(len(trials)):  # as Tune counts
        try:
            run_worker(*trials)
            break
        except DeviceBroken:
            failures += 1
    assert failures == 1 + len(trials) <= machines.failures_of(len(trials))
    homes = [trial_folder(tmp_path / "experiments" / "x", trial.trial_id) for trial in trials]
    assert all(read_outcome(home) for home in homes)
    assert machines.failures_of(1) == machines.max_failures
    assert all(n + 1 <= machines.failures_of(n) for n in range(2, 20))


def test_a_driver_without_a_gpu_can_name_the_device_of_a_lost_process() -> None:
    assert known_device("cuda").kind == "cuda"
    assert known_device("cpu").name != "unknown"


def test_the_ledger_has_the_cause_where_the_process_was_lost_for_good(
    experiment: Experiment, tmp_path: Path
) -> None:
    trials, ledger = grid_trials(experiment), Ledger(tmp_path / "ledger.jsonl")
    tunes = tmp_path / "error.txt"
    tunes.write_text("ActorDiedError")
    cells = [{"values": trial.values, "replicate": trial.replicate} for trial in trials]
    for trial in trials:
        home = trial_folder(tmp_path, trial.trial_id)
        note_start(home, trial.values, trial.replicate, Start(session="a"))
        note_fault(home, ASSERT)
        (home / "error.log").write_text("the worker's traceback")
    lost = SimpleNamespace(config={"pack": cells}, num_failures=3, error_file=str(tunes))
    Recorder(experiment, tmp_path, ledger).on_trial_error(0, [], lost)
    for record in ledger.trials:
        assert record.error == f"its process was lost or failed 3 times: {ASSERT}"
        log = trial_folder(tmp_path, record.trial_id) / "error.log"
        assert log.read_text() == "the worker's traceback"


RETIRING = """
from minigpt_search.data.common.errors import run_command
from minigpt_search.search import run
from minigpt_search.search.driver import tuner
from minigpt_search.search.driver.recorder import Recorder
from minigpt_search.search.machines.machines import Machines

def and_retire(config, **options):
    from minigpt_search.model.hardware.retirement import retire
    from minigpt_search.search.worker import trainable
    train = trainable.train

    def last_run(*args, **more):
        retire("it keeps memory")
        return train(*args, **more)

    trainable.train = last_run
    trainable.run_trials(config, **options)

def errors(self, iteration, trials, trial, **info):
    print("a trial failed", trial.num_failures)

tuner.run_trials = and_retire
Recorder.on_trial_error = errors
Machines.failures_of = lambda self, together: 0
run_command(run.main)
"""


@pytest.mark.slow
def test_a_process_that_retires_is_no_failure(
    search_root: Path, leave_speeds: Callable[..., None]
) -> None:
    """Also where a trial has no other try left."""
    words = ["--search", "random", "--lr", "1e-3,2e-3", "--trials", "2", "--embed-dim", "16"]
    words += ["--corpus", "small", "--epochs", "1", "--tokens-per-epoch", "4096"]
    words += ["--max-concurrent", "1", "--cpus-per-trial", "1", "--name", "retiring"]
    leave_speeds(*words)
    command = [sys.executable, "-c", RETIRING, *words, "--out", str(search_root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=CHECKOUT)
    assert done.returncode == 0 and "a trial failed" not in done.stdout, done.stdout + done.stderr
    records = Ledger(search_root / "experiments" / "retiring" / "ledger.jsonl").trials
    assert [(r.status, r.attempts) for r in records] == [(COMPLETE, 1)] * 2


SEARCH = f"""
import sys
import torch
from minigpt_search.data.common.errors import run_command
from minigpt_search.search import run
from minigpt_search.search.driver import tuner
from minigpt_search.search.worker import trainable

def with_a_fault(config, **options):
    from minigpt_search.search.worker import trainable
    train = trainable.train
    if not hasattr(trainable, "real_train"):
        trainable.real_train, trainable.is_broken = train, False

    def faulty(config, *args, **more):
        if config.train.lr_peak == 2e-3 or trainable.is_broken:
            trainable.is_broken = True  # for all that this process does from now on
            raise torch.AcceleratorError({ASSERT!r})
        return trainable.real_train(config, *args, **more)

    trainable.train = faulty
    trainable.run_trials(config, **options)

tuner.run_trials = with_a_fault
run_command(run.main)
"""


@pytest.mark.slow
def test_a_search_goes_on_in_another_process(
    search_root: Path, leave_speeds: Callable[..., None]
) -> None:
    words = ["--lr", "1e-3,2e-3,4e-3", "--embed-dim", "16", "--corpus", "small"]
    words += ["--epochs", "1", "--tokens-per-epoch", "4096", "--max-concurrent", "1"]
    words += ["--name", "broken"]
    leave_speeds(*words)
    command = [sys.executable, "-c", SEARCH, *words, "--out", str(search_root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=CHECKOUT)
    assert done.returncode == 1, done.stderr
    records = Ledger(search_root / "experiments" / "broken" / "ledger.jsonl").trials
    ends = {record.config.train.lr_peak: record for record in records}
    assert [ends[lr].status for lr in (1e-3, 2e-3, 4e-3)] == [COMPLETE, FAILED, COMPLETE]
    assert ends[2e-3].error == f"AcceleratorError: {ASSERT}" and ends[2e-3].attempts == 1
    assert f"AcceleratorError: {ASSERT}" in done.stdout
