"""What is done at each trial or each beat doesn't grow with the trials that have ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt_search.model.records import COMPLETE, STOPPED, RungRecord
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver.live_curves import LiveCurves
from minigpt_search.search.driver.progress import ProgressLine
from minigpt_search.search.driver.tensorboard import TensorBoardEvents
from minigpt_search.search.early_stopping.rule import RungHistory
from minigpt_search.search.early_stopping.rungs import all_scored, write_rungs
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import trial_folder
from minigpt_search.search.storage.base import Storage
from minigpt_search.search.storage.open import open_storage
from minigpt_search.search.sync.mirror import PUSHED_BYTES_A_SECOND, StorageMirror
from minigpt_search.search.sync.stored_rungs import stored_rungs
from minigpt_search.search.trials.trial import Trial, grid_trials


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment(make_parser().parse_args(["--grid", "lr", "--seeds", "5"]), "cpu")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    (tmp_path / "storage").mkdir()
    return open_storage(str(tmp_path / "storage"))


def leave_rungs(home: Path, trial: Trial, *losses: float) -> None:
    rungs = tuple(
        RungRecord(step=n, tokens_seen=n, schedule_tokens=9, val_loss_nats=loss)
        for n, loss in enumerate(losses, start=1)
    )
    folder = trial_folder(home, trial.trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    write_rungs(folder, RungHistory(config=trial.config, rungs=rungs))


def test_a_worker_reads_the_rungs_of_a_trial_once_whichever_trial_it_trains(
    experiment: Experiment, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, trials = tmp_path / "storage" / "experiments" / experiment.name, grid_trials(experiment)
    for trial in trials[:-1]:
        leave_rungs(home, trial, 8.0)
    read, get_bytes = [], storage.get_bytes
    monkeypatch.setattr(storage, "get_bytes", lambda key: read.append(key) or get_bytes(key))

    def look(trial: Trial) -> int:
        """How many files were read for what a shared folder would give."""
        read.clear()
        found = stored_rungs(storage, experiment.name).scored(trial.trial_id)
        key = lambda scored: repr(scored)  # noqa: E731
        assert sorted(found, key=key) == sorted(all_scored(home, trial.trial_id), key=key)
        return len(read)

    assert look(trials[0]) == len(trials) - 1
    assert look(trials[1]) == 0
    leave_rungs(home, trials[2], 8.0, 7.5)
    leave_rungs(home, trials[-1], 8.1)
    assert look(trials[1]) == 2
    (trial_folder(home, trials[3].trial_id) / "rungs.json").unlink()  # it is tried again
    assert look(trials[1]) == 0


def test_a_large_ledger_goes_up_now_and_then_and_at_the_end(
    experiment: Experiment, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / experiment.name
    folder.mkdir()
    mirror, now = StorageMirror(storage, experiment, folder), [1000.0]
    mirror.lease.now = lambda: now[0]
    sent, put = [], storage.put
    monkeypatch.setattr(storage, "put", lambda path, key: sent.append(path.name) or put(path, key))
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(b"x" * int(60 * PUSHED_BYTES_A_SECOND))
    mirror.push_plan()  # what a worker reads is there before the first one
    for _ in range(90):  # a trial ends each second
        now[0] += 1
        mirror.lease.beaten_at = now[0]  # the storage answers all the while
        with ledger.open("ab") as file:
            file.write(b"record")
        mirror.push()
    assert sent == ["ledger.jsonl"] * 2
    mirror.finish()
    there = tmp_path / "storage" / "experiments" / experiment.name / "ledger.jsonl"
    assert there.read_bytes() == ledger.read_bytes()


def test_what_is_on_the_screen_and_in_the_curves_forgets_ended_trials(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials, ledger = grid_trials(experiment), Ledger(tmp_path / "ledger.jsonl")
    clock, planned = Clock(tmp_path, 0.0), len(trials)
    progress = ProgressLine(experiment, ledger, {}, planned, {}, clock)
    events = TensorBoardEvents(experiment, tmp_path, ledger)
    live = LiveCurves(experiment, tmp_path)
    for number, trial in enumerate(trials):
        cell = {"values": trial.values, "replicate": trial.replicate}
        ran = SimpleNamespace(config={"pack": [cell]}, last_result={})
        result = {"kind": "progress", "member": trial.trial_id, "step": 1, "total_steps": 9}
        result["train_loss_nats"] = 8.0
        for callback in (progress, events, live):
            callback.on_trial_result(0, [], ran, result)
            assert list(callback.reported.known) == [trial.trial_id]
            end = callback.on_trial_error if number % 2 else callback.on_trial_complete
            end(0, [], ran)
            assert not callback.reported.known
        assert not events.files  # each holds a file open
        assert not events.last_steps and not live.running and not live.curves and not live.written
        assert not list((tmp_path / "live").iterdir())
    progress.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == len(trials)


@pytest.mark.cluster
def test_no_worker_is_started_twice(tmp_path: Path) -> None:
    """Where trials end while others' workers still start, a free worker takes a new trial."""
    path, benchmarks = (
        tmp_path / "numbers.json",
        Path(__file__).parents[2] / "benchmarks" / "scaling",
    )
    words = ["--trials", "40", "--slots", "6", "--seconds", "0.5", "--json", str(path)]
    command = [sys.executable, str(benchmarks / "scaling.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())["workers"] == 6


@pytest.mark.cluster
def test_trials_are_stopped_by_the_rungs_in_a_storage_as_by_those_in_a_folder(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
    search_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIGPT_NODE_HOME", str(tmp_path / "node"))
    words = ["--lr", "1e-2,8e-3,1e-4,2e-4", "--stop", "asha", "--max-concurrent", "1"]
    words += ["--corpus", "small", "--embed-dim", "16"]
    words += ["--tokens-per-epoch", "4096", "--val-tokens", "1024"]
    ended = []
    for name, more in ("here", []), ("there", ["--storage", str(tmp_path / "storage")]):
        done = run_script("search/run.py", *words, "--name", name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        trials = Ledger(search_root / "experiments" / name / "ledger.jsonl").trials
        ended.append([(trial.trial_id, trial.status, trial.error, trial.rungs) for trial in trials])
    assert ended[0] == ended[1]
    assert {status for _, status, *_ in ended[0]} == {COMPLETE, STOPPED}
