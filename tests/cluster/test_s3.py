"""Searches with `--storage s3://...`: killed, gone on with elsewhere, and what is refused."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import read_started

pytestmark = pytest.mark.cluster

CHECKOUT = Path(__file__).resolve().parents[2]
TWO_RATES = ("--grid", "lr", "--lr", "1e-3,2e-3", "--corpus", "small", "--embed-dim", "16")
ONE_BY_ONE = ("--epochs", "3", "--max-concurrent", "1", "--cpus-per-trial", "1")
SEARCH = (*TWO_RATES, *ONE_BY_ONE, "--checkpoint-every", "0.5")
HOME = "s3://bucket/folder"
Start = Callable[..., subprocess.Popen[str]]
Losses = dict[str, list[tuple[float, float]]]


def start_driver(*words: str, out: Path, node: Path) -> subprocess.Popen[str]:
    """A driver; its workers keep their copies in `node`, as if that were their machine."""
    return subprocess.Popen(
        [sys.executable, str(CHECKOUT / "search" / "run.py"), *words, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MINIGPT_NODE_HOME": str(node)},
    )


def finish(driver: subprocess.Popen[str], status: int) -> str:
    """Wait for its end, and return what it printed on stdout, or on stderr if that is nothing."""
    stdout, stderr = driver.communicate(timeout=300)
    assert driver.returncode == status, stdout + stderr
    assert "Traceback" not in stdout + stderr
    return stdout or stderr


def wait_for(driver: subprocess.Popen[Any], happened: Callable[[], bool]) -> None:
    """Wait until something happened, while the driver runs."""
    deadline = time.monotonic() + 240
    while not happened():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_all(driver: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver and all that it started, as if the machine had gone."""
    family = [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]
    for process in family:
        process.suspend()  # none of them sees another's end
    for process in family:
        process.kill()
    driver.communicate()


def trials(folder: Path) -> list[TrialRecord]:
    return Ledger(folder / "ledger.jsonl").trials


def losses(folder: Path) -> Losses:
    return {
        trial.trial_id: [(e.train_loss_nats, e.val_loss_nats) for e in trial.epochs]
        for trial in trials(folder)
    }


@pytest.fixture
def start() -> Iterator[Start]:
    """`start_driver`; what still runs when the test ends is killed."""
    started = []

    def begin(*words: str, out: Path, node: Path) -> subprocess.Popen[str]:
        started.append(start_driver(*words, out=out, node=node))
        return started[-1]

    yield begin
    for driver in started:
        if driver.poll() is None:
            kill_all(driver)


@pytest.fixture(scope="module")
def undisturbed(search_root: Path) -> Iterator[Callable[[], Losses]]:
    """`undisturbed()`: the losses of the search without a storage, which runs beside the first
    test's."""
    driver = start_driver(*SEARCH, "--name", "undisturbed", out=search_root, node=search_root)

    @functools.cache
    def look() -> Losses:
        finish(driver, 0)
        found = losses(search_root / "experiments" / "undisturbed")
        assert len(found) == 2
        return found

    yield look
    if driver.poll() is None:
        kill_all(driver)


def stored_steps(s3: Any, name: str) -> dict[str, list[int]]:
    """The steps of the checkpoints in the storage, by trial."""
    found: dict[str, list[int]] = {}
    for key in s3.storage(HOME).list(f"experiments/{name}/checkpoints"):
        trial, file = key.split("/")[-2:]
        if file.startswith("step_"):
            found.setdefault(trial, []).append(int(file.removeprefix("step_")[:-3]))
    return found


def second_is_under_way(s3: Any, folder: Path) -> Callable[[], bool]:
    """Whether one trial has ended and the other has left a checkpoint in the storage."""

    def look() -> bool:
        ledger = folder / "ledger.jsonl"
        if not ledger.exists() or len(trials(folder)) != 1:
            return False
        return bool(stored_steps(s3, folder.name).keys() - {trials(folder)[0].trial_id})

    return look


def test_a_killed_search_goes_on_elsewhere_as_if_nothing_had_been(
    s3: Any, start: Start, search_root: Path, undisturbed: Callable[[], Losses], tmp_path: Path
) -> None:
    folder = search_root / "experiments" / "killed"
    words = (*SEARCH, "--name", "killed", "--storage", HOME)
    driver = start(*words, out=search_root, node=tmp_path / "node")
    wait_for(driver, second_is_under_way(s3, folder))
    kill_all(driver)
    [ended] = trials(folder)
    before = (folder / "ledger.jsonl").read_bytes()
    left = stored_steps(s3, "killed")
    [unfinished] = left.keys() - {ended.trial_id}

    elsewhere = tmp_path / "elsewhere"
    place = f"{HOME}/experiments/killed"
    finish(start("--resume", place, out=elsewhere, node=tmp_path / "other-node"), 0)
    there = elsewhere / "experiments" / "killed"
    assert losses(there) == undisturbed()
    assert (there / "ledger.jsonl").read_bytes().startswith(before)
    second = trials(there)[1]
    assert second.trial_id == unfinished and second.attempts == 2
    assert ended.attempts == 1
    storage = s3.storage(HOME)
    home = f"experiments/killed/checkpoints/{unfinished}"
    storage.get(f"{home}/trial.json", tmp_path / "trial.json")
    started = read_started(tmp_path)
    assert started is not None and len(started.starts) == 2
    assert started.starts[1].from_step in left[unfinished]

    assert storage.get_bytes("experiments/killed/ledger.jsonl") == (
        (there / "ledger.jsonl").read_bytes()
    )
    names = {key.split("/")[-1] for key in storage.list("experiments/killed")}
    assert names == {
        *("experiment.json", "ledger.jsonl", "clock.json", "study.db"),
        *("trial.json", "final.pt", "outcome.json"),
    }
    left_over = [path for path in (tmp_path / "other-node").rglob("*") if path.suffix == ".pt"]
    assert all("corpus" in path.parts for path in left_over)


def test_a_server_that_is_gone_ends_the_search_which_goes_on_when_it_is_back(
    s3: Any, start: Start, search_root: Path, undisturbed: Callable[[], Losses], tmp_path: Path
) -> None:
    storage, place = s3.storage(HOME), f"{HOME}/experiments/cut-off"
    folder = search_root / "experiments" / "cut-off"
    words = (*SEARCH, "--name", "cut-off", "--storage", HOME)
    driver = start(*words, out=search_root, node=tmp_path / "node")
    wait_for(driver, lambda: storage.get_bytes("experiments/cut-off/experiment.json") is not None)
    refusal = finish(start("--resume", place, out=tmp_path / "second", node=tmp_path / "node"), 2)
    assert refusal.startswith("error: cut-off is running on ") and refusal.count("\n") == 1

    wait_for(driver, second_is_under_way(s3, folder))
    s3.stop()
    try:
        said = finish(driver, 1).strip().splitlines()[-1]
    finally:
        s3.start()
    assert f"The search can't go on: {HOME}: network connection" in said
    assert f"search/run.py --resume {place}" in said
    finish(start("--resume", place, out=search_root, node=tmp_path / "node"), 0)
    assert losses(folder) == undisturbed()


def test_what_cannot_be_a_storage_is_refused_in_one_line(
    s3: Any, start: Start, search_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*words: str) -> subprocess.Popen[str]:
        return start(*words, out=search_root, node=tmp_path)

    def refusal(driver: subprocess.Popen[str]) -> str:
        said = finish(driver, 2)
        assert said.startswith("error: ") and said.count("\n") == 1
        return said

    nowhere = "s3://no-such-bucket/folder"
    no_bucket = begin(*SEARCH, "--name", "never", "--storage", nowhere)
    no_experiment = begin("--resume", f"{HOME}/experiments/never")
    said = refusal(no_bucket)
    assert said == f"error: --storage {nowhere}: there is no bucket 'no-such-bucket'\n"
    assert f"no experiment 'never' in {HOME}; there are: " in refusal(no_experiment)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    s3.look_at_keys(True)
    try:
        said = refusal(begin(*SEARCH, "--name", "never", "--storage", HOME))
    finally:
        s3.look_at_keys(False)
    assert said.startswith(f"error: --storage {HOME}: access denied; are the credentials right")
    assert not (search_root / "experiments" / "never").exists()
