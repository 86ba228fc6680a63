"""Faults that are not a trial's own: no memory, nowhere to write, lost or left processes."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.common.files import atomic_file
from minigpt_search.model import notes
from minigpt_search.model.hardware import retirement
from minigpt_search.model.out_of_memory import is_out_of_memory
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.model.training.train import TrainResult
from minigpt_search.search.machines import gpu_share
from minigpt_search.search.machines.local_ray import MARK, LocalRay, end_left_overs
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import OUT_OF_MEMORY
from minigpt_search.search.records.trial_folder import read_outcome, read_started, trial_folder
from minigpt_search.search.trials.reports import NO_STORAGE, RETIRES
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker import faults, trainable
from minigpt_search.search.worker.faults import is_storage_fault

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
Run = Callable[..., list[dict[str, object]]]


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt  # a process that vanishes leaves nothing, unlike one that fails


def test_no_space_is_reported_and_leaves_no_outcome_and_no_temporary_file(
    experiment: Experiment, tmp_path: Path, run_worker: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = grid_trials(experiment)[0]
    home = trial_folder(tmp_path / "experiments" / "x", trial.trial_id)

    def full(content: object, file: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "final.pt")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        last = run_worker(trial)[-1]
    assert last["status"] == NO_STORAGE and "No space left on device" in str(last["error"])
    assert read_outcome(home) is None and not list(home.glob("*.tmp"))
    assert run_worker(trial)[-1]["status"] == COMPLETE


def test_a_file_that_can_t_be_written_is_a_storage_fault_also_through_torch(
    tmp_path: Path,
) -> None:
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from minigpt_search.model.training.checkpoint import save_atomically\n"
        "from minigpt_search.search.worker.faults import is_storage_fault\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    save_atomically({'x': torch.zeros(100_000)}, Path(sys.argv[1]))\n"
        "except OSError as error:\n"
        "    sys.exit(0 if is_storage_fault(error) else 1)\n"
        "sys.exit(2)\n"
    )
    checkout = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.pt")], cwd=checkout)
    assert done.returncode == 0 and not list(tmp_path.iterdir())


def test_other_errors_are_no_storage_faults() -> None:
    assert not is_storage_fault(FileNotFoundError(errno.ENOENT, "no such file"))
    assert not is_storage_fault(ValueError("No space left on device"))
    assert is_storage_fault(PermissionError(errno.EACCES, "denied"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_too_little_memory_is_a_cause_of_its_own(
    experiment: Experiment,
    tmp_path: Path,
    run_worker: Run,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    assert is_out_of_memory(error) and not is_out_of_memory(RuntimeError("size mismatch"))
    trial = grid_trials(experiment)[0]

    def hungry(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trainable, "train", hungry)
    assert run_worker(trial)[-1]["status"] == FAILED
    home = trial_folder(tmp_path / "experiments" / "x", trial.trial_id)
    record = read_outcome(home)
    assert record is not None and record.error is not None
    assert record.error.startswith(f"{OUT_OF_MEMORY}: {type(error).__name__}")
    assert "Traceback" in (home / "error.log").read_text()


@pytest.mark.filterwarnings("ignore:no kernel:RuntimeWarning")
def test_what_a_failed_trial_went_without_is_in_its_record_and_in_no_other(
    experiment: Experiment, tmp_path: Path, run_worker: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = grid_trials(experiment)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("of all together")

    def fail_once(config: Any, *_: object, **__: object) -> None:
        notes.begin()
        if config == trials[0].config:
            notes.note("no kernel")
        raise RuntimeError("of one")

    monkeypatch.setattr(trainable, "train_packed", fail)
    monkeypatch.setattr(trainable, "train", fail_once)
    run_worker(*trials)
    homes = [trial_folder(tmp_path / "experiments" / "x", trial.trial_id) for trial in trials]
    records = [read_outcome(home) for home in homes]
    assert [r and (r.status, r.notes) for r in records] == [(FAILED, ("no kernel",)), (FAILED, ())]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("CUDA driver error: out of memory", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("std::bad_alloc", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`", False),
    ],
)
def test_a_gpu_s_driver_and_libraries_run_out_of_memory_too(message: str, expected: bool) -> None:
    assert is_out_of_memory(torch.AcceleratorError(message)) == expected


@pytest.mark.parametrize(("device", "freed"), [("cuda", ["workspaces", "cache"]), ("cpu", [])])
def test_what_a_trial_took_of_a_gpu_is_given_back(
    monkeypatch: pytest.MonkeyPatch, device: str, freed: list[str]
) -> None:
    calls: list[str] = []
    clear = "_cuda_clearCublasWorkspaces"  # a build without CUDA has none
    monkeypatch.setattr(torch._C, clear, lambda: calls.append("workspaces"), raising=False)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("cache"))
    gpu_share.free_memory(device)
    assert calls == freed


def test_torch_s_own_words_for_too_little_memory_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.int8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("kills", "session", "alone", "expected"),
    [
        ((4, 5), "a", False, FAILED),  # one was killed since: most likely this one
        ((4, 4), "a", False, COMPLETE),
        ((4, 5), "b", False, COMPLETE),  # another driver: the machine may have done other things
        ((4, 5), "a", True, COMPLETE),
        ((None, None), "a", False, COMPLETE),
    ],
)
def test_a_worker_killed_for_memory_is_not_started_again_beside_others(
    experiment: Experiment,
    tmp_path: Path,
    run_worker: Run,
    monkeypatch: pytest.MonkeyPatch,
    kills: tuple[int | None, int | None],
    session: str,
    alone: bool,
    expected: str,
) -> None:
    trial = grid_trials(experiment)[0]
    counter = Path(tmp_path / "vmstat")
    monkeypatch.setattr(faults, "VMSTAT", counter)

    def set_kills(number: int | None) -> None:
        line = "" if number is None else f"oom_kill {number}\n"
        counter.write_text(f"nr_free_pages 12\n{line}pgfault 99\n")

    set_kills(kills[0])
    with monkeypatch.context() as patch:
        patch.setattr(trainable, "train", die)
        with pytest.raises(KeyboardInterrupt):
            run_worker(trial)
    set_kills(kills[1])
    assert run_worker(trial, session=session, alone=alone)[-1]["status"] == expected
    home = trial_folder(tmp_path / "experiments" / "x", trial.trial_id)
    record, started = read_outcome(home), read_started(home)
    assert record is not None and record.attempts == 2
    assert started is not None and len(started.starts) == 2
    assert expected == COMPLETE or (record.error or "").startswith(OUT_OF_MEMORY)


def test_this_machine_counts_its_kills() -> None:
    assert faults.memory_kills() is None or sys.platform == "linux"
    assert not faults.was_killed_for_memory(faults.memory_kills())


def test_only_the_left_overs_of_this_experiment_are_killed(tmp_path: Path) -> None:
    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(SLEEP, env={**os.environ, MARK: str(folder)})

    with start(tmp_path / "a") as left, start(tmp_path / "ab") as other:
        end_left_overs(tmp_path / "a")
        assert left.poll() == -9 and other.poll() is None
        other.kill()


def test_a_process_that_is_gone_or_not_yet_buried_is_lost() -> None:
    with subprocess.Popen(SLEEP) as process:
        ray = LocalRay(scratch=Path(), processes={"raylet": process.pid})
        assert ray.find_lost() is None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie
        assert ray.find_lost() == "raylet"
    assert ray.find_lost() == "raylet"


def test_an_atomic_file_is_the_old_one_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_file(path) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and path.read_bytes() == b"old"


def test_a_process_that_should_train_no_more_ends_once_its_trial_is_recorded(
    experiment: Experiment, tmp_path: Path, run_worker: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = grid_trials(experiment)[0]
    home = trial_folder(tmp_path / "experiments" / "x", trial.trial_id)
    monkeypatch.setattr(retirement, "_reasons", [])

    def train(*args: Any, **kwargs: Any) -> TrainResult:
        ended = model_train(*args, **kwargs)
        retirement.retire("it keeps memory")
        return dataclasses.replace(ended, notes=("no CUDA graph",))

    model_train = trainable.train
    monkeypatch.setattr(trainable, "train", train)
    reports: list[dict[str, object]] = []
    with pytest.raises(retirement.Retired, match="it keeps memory"):
        run_worker(trial, reports=reports)
    assert [each["kind"] for each in reports][-2:] == ["epoch", RETIRES]
    record = read_outcome(home)
    assert record is not None and record.status == COMPLETE and record.notes == ("no CUDA graph",)
    monkeypatch.setattr(retirement, "_reasons", [])  # Tune starts another
    [report] = run_worker(trial)
    assert (report["kind"], report["status"]) == ("end", COMPLETE)
    assert read_outcome(home) == record
