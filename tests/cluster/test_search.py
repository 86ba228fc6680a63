"""A search on several Ray nodes, each its own processes and folder, against one on this machine.

The nodes don't see the checkout where that can be arranged: what they run came with the job.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord

pytestmark = pytest.mark.cluster

CHECKOUT = Path(__file__).resolve().parents[2]
GRID = ("--grid", "lr", "--lr", "1e-3,2e-3,3e-3,4e-3", "--corpus", "small", "--embed-dim", "16")
LONGER = ("--epochs", "6", "--checkpoint-every", "1", "--cpus-per-trial", "1")
PATIENCE = 300
"""Seconds after which a command counts as hanging."""


@pytest.fixture(scope="module")
def make_root(tmp_path_factory: pytest.TempPathFactory, search_root: Path) -> Callable[[], Path]:
    """Makes a root with the corpus `small`."""

    def make() -> Path:
        root = tmp_path_factory.mktemp("root")
        (root / "downloads").symlink_to(search_root / "downloads", target_is_directory=True)
        shutil.copytree(search_root / "corpus", root / "corpus")
        return root

    return make


@pytest.fixture
def nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors, and two nodes of one; parameters are `RayNodes`' options."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "tests" / "benchmarks" / "common"))
    from ray_nodes import RayNodes

    with RayNodes(hidden=CHECKOUT, **getattr(request, "param", {})) as nodes:
        nodes.homes = [nodes.add(), nodes.add()]
        yield nodes


def start(
    *words: str, root: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHECKOUT / "search" / "run.py"), *words, "--out", str(root)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(driver: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """What it printed and what it said on standard error."""
    try:
        said = driver.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        driver.terminate()
        said = driver.communicate()
        pytest.fail("\n".join((f"not ended after {PATIENCE} s:", *said)))
    assert driver.returncode == status, "\n".join(said)
    assert "Traceback" not in "".join(said)
    return said


def trials(root: Path, name: str = "x") -> list[TrialRecord]:
    return list(Ledger(root / "experiments" / name / "ledger.jsonl").trials)


def losses(records: list[TrialRecord]) -> dict[str, list[tuple[float, float]]]:
    """Training and validation loss of each epoch, by trial."""
    return {
        record.trial_id: [(e.train_loss_nats, e.val_loss_nats) for e in record.epochs]
        for record in records
    }


@pytest.fixture(scope="module")
def on_one_machine(make_root: Callable[[], Path]) -> dict[str, list[tuple[float, float]]]:
    root = make_root()
    finish(start(*GRID, *LONGER, "--name", "x", root=root))
    found = losses(trials(root))
    assert len(found) == 4
    return found


def wait_for(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert driver.poll() is None, "\n".join(driver.communicate())
        assert time.monotonic() < deadline
        time.sleep(0.1)


def under_way(storage: Path) -> list[Path]:
    """Folders of the trials that have left a checkpoint and no outcome there."""
    folders = {path.parent for path in storage.glob("experiments/x/checkpoints/*/step_*.pt")}
    return [folder for folder in folders if not (folder / "outcome.json").exists()]


def start_with_two_under_way(nodes: Any, root: Path, storage: Path) -> subprocess.Popen[str]:
    words = (*GRID, *LONGER, "--name", "x", "--address", nodes.address, "--storage", str(storage))
    driver = start(*words, root=root, environment=nodes.environment)
    wait_for(lambda: len(under_way(storage)) == 2, driver)
    return driver


def test_a_node_dies_another_joins_and_nothing_is_lost(
    nodes: Any, make_root: Callable[[], Path], tmp_path: Path, on_one_machine: Any
) -> None:
    root, storage = make_root(), tmp_path / "storage"
    driver = start_with_two_under_way(nodes, root, storage)
    nodes.kill(0)
    new_home = nodes.add()
    out, err = finish(driver)
    assert "Machine    2 x " in out
    assert "1 node left" in err
    assert "1 node joined" in err
    ended = trials(root)
    assert losses(ended) == on_one_machine
    assert sorted(record.attempts for record in ended) == [1, 1, 1, 2]
    (again,) = (record.trial_id for record in ended if record.attempts == 2)
    started = json.loads((storage / f"experiments/x/checkpoints/{again}/trial.json").read_text())
    assert started["starts"][-1]["from_step"] > 0
    assert list(new_home.glob("*/corpus/small/manifest.json"))
    assert losses(trials(storage)) == on_one_machine


def test_the_head_dies_and_the_search_goes_on_elsewhere(
    nodes: Any, make_root: Callable[[], Path], tmp_path: Path, on_one_machine: Any
) -> None:
    root, storage = make_root(), tmp_path / "storage"
    driver = start_with_two_under_way(nodes, root, storage)
    nodes.kill_head()
    out, _ = finish(driver, status=1)
    assert "The search can't go on: the cluster's head" in out
    assert f"--resume {storage}/experiments/x --address {nodes.address}" in out
    elsewhere = tmp_path / "empty"
    finish(start("--resume", f"{storage}/experiments/x", root=elsewhere))
    assert losses(trials(elsewhere, "x")) == on_one_machine


def submit(nodes: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit` of a search, as docs/scaling.md has it, until the job has ended."""
    command = [str(Path(sys.executable).with_name("ray")), "job", "submit"]
    command += ["--address", nodes.jobs, "--working-dir", str(CHECKOUT)]
    command += ["--", "python", "search/run.py", *words, "--address", "auto"]
    return subprocess.run(
        command, env=nodes.environment, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.skipif(find_spec("aiohttp_cors") is None, reason="needs ray[default]")
@pytest.mark.parametrize("nodes", [{"job_server": True}], indirect=True)
def test_a_submitted_job_is_the_same_search(
    nodes: Any, make_root: Callable[[], Path], tmp_path: Path, on_one_machine: Any
) -> None:
    """The head doesn't see the checkout: what runs there came with the job."""
    storage = tmp_path / "storage"
    words = (*GRID, *LONGER, "--name", "x", "--storage", str(storage), "--out", str(make_root()))
    job = submit(nodes, *words)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "Traceback" not in job.stdout + job.stderr
    assert "Use        lr=" in job.stdout
    assert losses(trials(storage)) == on_one_machine
    mistake = submit(nodes, "--grid", "lr", "--epochs", "0", "--storage", str(storage))
    assert mistake.returncode == 1
    assert "error: epochs=0: give a number from 1 to 100,000" in mistake.stdout.splitlines()
    assert "Traceback" not in mistake.stdout + mistake.stderr
