"""The worker's side of a storage, on a folder: what its node brings, uploads and deletes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.records import COMPLETE, FAILED, RungRecord
from minigpt_search.search.early_stopping.rule import RungHistory
from minigpt_search.search.early_stopping.rungs import write_rungs
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import Start, note_start, write_outcome
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.sync import worker_files as place_module
from minigpt_search.search.sync.worker_files import SyncedWorkerFiles, node_home

HOME = "experiments/x/checkpoints"
Record = Callable[..., TrialRecord]
Open = Callable[[], SyncedWorkerFiles]


@pytest.fixture
def node(storage: FolderStorage, stored_experiment: Experiment, tmp_path: Path) -> Iterator[Open]:
    """`node()`: the place of a new process on this node."""
    with ExitStack() as stack:

        def make() -> SyncedWorkerFiles:
            folder = tmp_path / "node" / "it" / "experiments" / "x"
            held = ExitStack()
            stack.enter_context(held)
            return SyncedWorkerFiles(storage, stored_experiment, folder, held)

        yield make


def leave(place: SyncedWorkerFiles, trial: str, *steps: int) -> Path:
    """A started trial with these step checkpoints, on this node only. Returns its folder."""
    folder = place.folder / "checkpoints" / trial
    note_start(folder, {"lr": 1e-3}, 0, Start(session="a"))
    place.wrote(folder / "trial.json")
    for step in steps:
        checkpoint(folder, step)
    return folder


def checkpoint(folder: Path, step: int, text: str = "here") -> Path:
    path = folder / f"step_{step:09d}.pt"
    path.write_bytes(f"{text} {step}".encode())
    return path


def there(storage: FolderStorage, trial: str) -> set[str]:
    return {key.split("/")[-1] for key in storage.list(f"{HOME}/{trial}")}


def steps(*numbers: int) -> set[str]:
    return {f"step_{number:09d}.pt" for number in numbers}


def put_steps(storage: FolderStorage, trial: str, *numbers: int) -> None:
    for number in numbers:
        storage.put_bytes(f"there {number}".encode(), f"{HOME}/{trial}/step_{number:09d}.pt")


def test_a_start_brings_the_newest_two_and_keeps_a_newer_one_of_its_own(
    node: Open, storage: FolderStorage
) -> None:
    first = node()
    first.begin(["a"])
    folder = leave(first, "a", 30, 50)
    put_steps(storage, "a", 10, 20, 30, 40)
    first._held.close()  # killed: the newest was not uploaded

    again = node()
    again.begin(["a"])
    found = {path.name: path.read_text() for path in folder.glob("step_*")}
    assert found == {
        "step_000000030.pt": "here 30",  # the same, and so not brought again
        "step_000000040.pt": "there 40",
        "step_000000050.pt": "here 50",
    }


def test_the_storage_has_the_last_word_on_small_files(node: Open, storage: FolderStorage) -> None:
    first = node()
    first.begin(["a"])
    folder = leave(first, "a")
    newer = node()
    note_start(folder, {"lr": 1e-3}, 0, Start(session="elsewhere"))
    newer.wrote(folder / "trial.json")
    expected = (folder / "trial.json").read_bytes()
    (folder / "trial.json").write_bytes(b"older")
    (folder / "rungs.json").write_bytes(b"of a start that was forgotten")
    first._held.close()
    node().begin(["a"])
    assert (folder / "trial.json").read_bytes() == expected
    assert not (folder / "rungs.json").exists()


def test_what_another_experiment_of_that_name_left_is_not_gone_on_with(
    node: Open, storage: FolderStorage
) -> None:
    first = node()
    first.begin(["a"])
    folder = leave(first, "a", 10)
    storage.delete(f"{HOME}/a/trial.json")
    first._held.close()
    node().begin(["a"])
    assert list(folder.iterdir()) == []


def test_a_trial_is_of_one_process_at_a_time(node: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = []

    def only_process(path: Path, tell: Callable[[], None]) -> ExitStack:
        busy.append(path.name)
        return ExitStack()

    monkeypatch.setattr(place_module, "only_process", only_process)
    node().begin(["b", "a"])
    assert busy == [".a.lock", ".b.lock"]  # in one order, or two packs would wait for each other


def test_two_checkpoints_are_kept_there_as_here(node: Open, storage: FolderStorage) -> None:
    put_steps(storage, "a", 10, 20)
    place = node()
    storage.put_bytes(b"", f"{HOME}/a/trial.json")
    place.begin(["a"])
    folder = leave(place, "a")
    seen = []
    for step in (30, 40, 50):
        place.wrote_checkpoint(checkpoint(folder, step))
        assert place._uploads is not None
        place._uploads.flush()
        seen.append(there(storage, "a") - {"trial.json"})
    assert seen == [steps(20, 30), steps(30, 40), steps(40, 50)]
    place._put_checkpoint(checkpoint(folder, 15))  # of a run that began again before these
    assert there(storage, "a") - {"trial.json"} == steps(15)


def test_an_outcome_goes_last_and_then_the_checkpoints_go(
    node: Open, storage: FolderStorage, make_trial_record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = node()
    place.begin(["a"])
    folder = leave(place, "a")
    place.wrote_checkpoint(checkpoint(folder, 10))
    assert place._uploads is not None
    place._uploads.flush()
    (folder / "final.pt").write_bytes(b"weights")
    write_outcome(folder, make_trial_record("a"))
    order: list[str] = []
    put, delete = storage.put, storage.delete
    monkeypatch.setattr(storage, "put", lambda p, k: (order.append(p.name), put(p, k)))
    monkeypatch.setattr(storage, "delete", lambda k: (order.append(f"-{k[-17:]}"), delete(k)))
    place.ended("a")
    assert order == ["final.pt", "outcome.json", "-step_000000010.pt"]
    assert there(storage, "a") == {"trial.json", "final.pt", "outcome.json"}
    assert folder.exists()  # until it lets go
    place.close()
    assert not folder.exists()


def test_a_failed_trials_newest_checkpoint_goes_up_and_stays(
    node: Open, storage: FolderStorage, make_trial_record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = node()
    place.begin(["a"])
    folder = leave(place, "a")
    put, began, go_on = storage.put, threading.Event(), threading.Event()

    def slow(path: Path, key: str) -> None:
        if path.name.startswith("step_"):
            began.set()
            assert go_on.wait(30)
        put(path, key)

    monkeypatch.setattr(storage, "put", slow)
    place.wrote_checkpoint(checkpoint(folder, 10))
    assert began.wait(30)
    place.wrote_checkpoint(checkpoint(folder, 20))
    (folder / "error.log").write_text("why")
    write_outcome(folder, make_trial_record("a", status=FAILED))
    threading.Timer(0.05, go_on.set).start()
    place.ended("a")
    left = there(storage, "a")
    assert {"trial.json", "error.log", "outcome.json", "step_000000020.pt"} <= left
    assert "final.pt" not in left
    place.close()


def test_an_outcome_that_could_not_be_uploaded_is_at_the_next_start(
    node: Open, storage: FolderStorage, make_trial_record: Record
) -> None:
    first = node()
    first.begin(["a", "b"])
    put_steps(storage, "a", 10)
    for trial, status in (("a", COMPLETE), ("b", FAILED)):
        write_outcome(leave(first, trial), make_trial_record(trial, status=status))
    first._held.close()
    again = node()
    again.begin(["a", "b"])
    assert there(storage, "a") == {"trial.json", "outcome.json"}
    assert (first.folder / "checkpoints" / "a" / "outcome.json").exists()
    # A failed one's was forgotten, by a driver that has it tried again.
    assert there(storage, "b") == {"trial.json"}
    assert not (first.folder / "checkpoints" / "b" / "outcome.json").exists()


def test_an_uploads_error_comes_out_of_the_training(
    node: Open, storage: FolderStorage, tmp_path: Path
) -> None:
    place = node()
    place.begin(["a"])
    folder = leave(place, "a")
    storage.root.rename(tmp_path / "gone")
    place.wrote_checkpoint(checkpoint(folder, 10))
    uploads = place._uploads
    assert uploads is not None
    with uploads._changed:
        assert uploads._changed.wait_for(lambda: uploads._error is not None, 30)
    with pytest.raises(StorageError, match="no such folder"):
        place.wrote_checkpoint(checkpoint(folder, 20))
    place.close()
    assert folder.exists()  # it goes on from here


def test_others_rungs_are_read_once_each(
    node: Open,
    storage: FolderStorage,
    stored_experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = node()
    place.begin(["a", "b"])
    rung = RungRecord(step=1, tokens_seen=5, schedule_tokens=10, val_loss_nats=7.0)
    for trial in ("a", "b"):
        folder = leave(place, trial)
        write_rungs(folder, RungHistory(config=stored_experiment.space.base, rungs=(rung,)))
        place.wrote(folder / "rungs.json")
    reads: list[str] = []
    get = storage.get_bytes
    monkeypatch.setattr(storage, "get_bytes", lambda k: (reads.append(k), get(k))[1])
    assert [scored.rungs for scored in place.scored("a")] == [(rung,)]
    assert len(place.scored("none")) == 2
    assert sorted(reads) == [f"{HOME}/{trial}/rungs.json" for trial in ("a", "b")]
    storage.put_bytes(b"damaged", f"{HOME}/b/rungs.json")
    assert [scored.rungs for scored in place.scored("none")] == [(rung,)]


def test_a_node_s_own_folder_needs_no_user_s_name_and_follows_nobody_s_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("MINIGPT_NODE_HOME", raising=False)
    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    home = node_home()
    assert home == tmp_path / f"minigpt-node-{os.getuid()}"
    home.rmdir()
    (tmp_path / "mine").mkdir()
    home.symlink_to(tmp_path / "mine")
    if os.geteuid() == 0:
        os.chown(home, 1234, 1234, follow_symlinks=False)
        with pytest.raises(UserError, match="is somebody else's"):
            node_home()
