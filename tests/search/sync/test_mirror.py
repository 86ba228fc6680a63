"""The driver's side of a storage, on a folder: what goes there and what is brought from it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import encode
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import Start, note_start, write_outcome
from minigpt_search.search.storage import lease
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.sync import mirror
from minigpt_search.search.sync.mirror import LOST_SECONDS, StorageMirror

HOME = "experiments/x"
Make = Callable[..., StorageMirror]
Record = Callable[..., TrialRecord]


@pytest.fixture
def make(
    storage: FolderStorage,
    stored_experiment: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """`make(machine)`: the mirror of a driver on that machine, with its own folder of the
    experiment; it beats only where a test calls `_beat`."""
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_SECONDS", 0.0)

    def on(machine: str) -> StorageMirror:
        folder = tmp_path / machine / HOME
        if not folder.exists():
            stored_experiment.write(folder)
        made = StorageMirror(storage, stored_experiment, folder)
        made.lease.sleep = lambda _: None
        return made

    return on


@pytest.fixture
def leave(storage: FolderStorage, tmp_path: Path) -> Callable[..., None]:
    """`leave(record)`: what the worker of that trial leaves in the storage."""

    def put(record: TrialRecord) -> None:
        folder = tmp_path / "worker" / record.trial_id
        note_start(folder, {"lr": 1e-3}, 0, Start(session="a"))
        write_outcome(folder, record)
        for name in ("final.pt", "step_000000007.pt", "error.log"):
            (folder / name).write_bytes(name.encode())
        for path in folder.iterdir():
            storage.put(path, f"{HOME}/checkpoints/{record.trial_id}/{path.name}")

    return put


def ledger_of(mirror: StorageMirror) -> Ledger:
    return Ledger(mirror.folder / "ledger.jsonl")


def begin(mirror: StorageMirror, search_root: Path) -> StorageMirror:
    mirror.take(open_corpus(search_root / "corpus" / "small"))
    mirror.fetch_all(skip_damaged=False)
    return mirror


def die(mirror: StorageMirror) -> None:
    """As by SIGKILL: nothing is pushed or given back."""
    mirror._stop.set()
    assert mirror._beating is not None
    mirror._beating.join()


def test_an_empty_folder_gets_everything_but_the_weights(
    make: Make,
    leave: Callable[..., None],
    storage: FolderStorage,
    search_root: Path,
    make_trial_record: Record,
) -> None:
    first = begin(make("one"), search_root)
    ended, left = make_trial_record("a", 7.0), make_trial_record("b", 6.0)
    leave(ended)
    ledger_of(first).append(ended)
    first.finish()
    die(first)
    leave(left)  # its worker lived on, or the driver died before it could note it

    second = begin(make("two"), search_root)
    assert (second.folder / "ledger.jsonl").read_bytes() == encode(ended)
    there = {path.name for path in (second.folder / "checkpoints" / "b").iterdir()}
    assert there == {"trial.json", "outcome.json", "error.log"}
    assert not (second.folder / "checkpoints" / "a").exists()
    listed = storage.list(f"{HOME}/checkpoints")
    assert f"{HOME}/checkpoints/a/step_000000007.pt" not in listed  # it has ended
    assert f"{HOME}/checkpoints/b/step_000000007.pt" in listed
    assert f"{HOME}/checkpoints/a/final.pt" in listed
    outcome = second.folder / "checkpoints" / "b" / "outcome.json"
    assert outcome.stat().st_mtime == listed[f"{HOME}/checkpoints/b/outcome.json"].mtime
    second.close()
    assert not storage.list("").keys() & {f"{HOME}/driver.json"}


def test_two_ledgers_are_merged_once(
    make: Make, search_root: Path, storage: FolderStorage, make_trial_record: Record
) -> None:
    mirror = make("one")
    both, mine, theirs = (make_trial_record(name) for name in "abc")
    failed, again = make_trial_record("d", status=FAILED), make_trial_record("d")
    other = make_trial_record("e", status=FAILED)
    for record in (both, mine, failed):
        ledger_of(mirror).append(record)
    there = b"".join(
        map(encode, (both, theirs, again, other, make_trial_record("b", status=FAILED)))
    )
    storage.put_bytes(there, f"{HOME}/ledger.jsonl")
    before = (mirror.folder / "ledger.jsonl").read_bytes()

    begin(mirror, search_root)
    content = (mirror.folder / "ledger.jsonl").read_bytes()
    assert content == before + b"".join(map(encode, (theirs, again, other)))
    status = {trial.trial_id: trial.status for trial in ledger_of(mirror).trials}
    assert status == dict.fromkeys("abcd", COMPLETE) | {"e": FAILED}
    mirror.fetch_all(skip_damaged=False)
    assert (mirror.folder / "ledger.jsonl").read_bytes() == content
    mirror.close()
    assert storage.get_bytes(f"{HOME}/ledger.jsonl") == content


def test_a_refused_driver_replaces_nothing(
    make: Make, search_root: Path, storage: FolderStorage, make_trial_record: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = begin(make("one"), search_root)
    ledger_of(first).append(make_trial_record("a"))
    first.push()
    second = make("two")
    ledger_of(second).append(make_trial_record("old"))
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_SECONDS", 5.0)
    second.lease.sleep = lambda _: first.lease.heartbeat()
    with pytest.raises(UserError, match=r"^x is running on"):
        second.take(open_corpus(search_root / "corpus" / "small"))
    second.close()
    assert storage.get_bytes(f"{HOME}/ledger.jsonl") == encode(make_trial_record("a"))
    first.close()


def test_nothing_goes_there_before_what_is_there_has_come(
    make: Make, search_root: Path, storage: FolderStorage, make_trial_record: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(mirror, "BEAT_SECONDS", 0.0)
    storage.put_bytes(encode(make_trial_record("a")), f"{HOME}/ledger.jsonl")
    late = make("one")
    ledger_of(late).append(make_trial_record("old"))
    late.take(open_corpus(search_root / "corpus" / "small"))
    wait_for_beats(late)
    assert storage.get_bytes(f"{HOME}/ledger.jsonl") == encode(make_trial_record("a"))
    late.fetch_all(skip_damaged=False)
    wait_for_beats(late)
    assert {t.trial_id for t in Ledger(storage.root / HOME / "ledger.jsonl").trials} == {"old", "a"}
    late.close()


def wait_for_beats(mirror: StorageMirror) -> None:
    """Until its thread has gone round at least once."""
    seen = mirror.lease.beats
    while mirror.lease.beats < seen + 3:
        assert mirror._beating is not None and mirror._beating.is_alive()


def test_a_storage_without_an_answer_is_lost_after_a_while(make: Make) -> None:
    mirror = make("one")
    mirror.lease.now = lambda: mirror.lease.beaten_at + LOST_SECONDS
    mirror.check()
    mirror.lease.now = lambda: mirror.lease.beaten_at + LOST_SECONDS + 1
    uri = mirror.storage.uri
    for _ in range(2):  # and stays so
        with pytest.raises(StorageError) as error:
            mirror.check()
        assert str(error.value) == f"{uri}: no answer for {LOST_SECONDS + 1:.0f} s"
    with pytest.raises(StorageError):
        mirror.finish()


def test_a_driver_that_was_taken_over_ends_and_leaves_the_other_alone(
    make: Make, search_root: Path, storage: FolderStorage, make_trial_record: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stopped = begin(make("one"), search_root)
    second = begin(make("two"), search_root)
    ledger_of(second).append(make_trial_record("a"))
    second.push()
    ledger_of(stopped).append(make_trial_record("old"))
    die(stopped)
    stopped._stop.clear()
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "BEAT_SECONDS", 0.0)
        stopped._beat()  # comes back
    with pytest.raises(StorageError, match="another driver took the experiment over"):
        stopped.check()
    stopped.close()
    assert storage.get_bytes(f"{HOME}/ledger.jsonl") == encode(make_trial_record("a"))
    second.check()
    second.close()


def test_a_forgotten_outcome_is_forgotten_everywhere(
    make: Make, leave: Callable[..., None], search_root: Path, make_trial_record: Record,
    storage: FolderStorage,
) -> None:  # fmt: skip
    one = begin(make("one"), search_root)
    failed = make_trial_record("a", status=FAILED)
    leave(failed)
    one.refresh(ledger_of(one))
    outcome = one.folder / "checkpoints" / "a" / "outcome.json"
    ledger_of(one).append(failed)
    assert outcome.exists()
    die(one)

    two = begin(make("two"), search_root)
    two.forget_outcome("a")
    die(two)
    again = begin(make("one"), search_root)
    assert not outcome.exists()
    assert (outcome.parent / "trial.json").exists()
    assert f"{HOME}/checkpoints/a/step_000000007.pt" in storage.list(HOME)
    again.close()


def test_what_an_ended_trial_left_is_brought(
    make: Make, leave: Callable[..., None], search_root: Path, make_trial_record: Record
) -> None:
    one = begin(make("one"), search_root)
    leave(make_trial_record("a"))
    leave(make_trial_record("b", status=FAILED))
    one.fetch_trial("a")
    one.fetch_trial("b")
    one.fetch_trial("never-ran")
    home = one.folder / "checkpoints"
    assert [path.name for path in (home / "a").iterdir()] == ["outcome.json"]
    there = {path.name for path in (home / "b").iterdir()}
    assert there == {"outcome.json", "trial.json", "error.log"}
    one.close()


def test_weights_that_were_taken_over_go_up_once(
    make: Make, search_root: Path, storage: FolderStorage
) -> None:
    one = begin(make("one"), search_root)
    weights = one.folder / "checkpoints" / "a" / "final.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    one.push_plan()
    key = f"{HOME}/checkpoints/a/final.pt"
    assert storage.get_bytes(key) == b"weights"
    assert storage.get_bytes(f"{HOME}/experiment.json") is not None
    os.utime(storage.root / key, (1, 1))
    one.push_plan()
    assert storage.list(HOME)[key].mtime == 1
    one.close()


def test_tune_may_pickle_it(make: Make) -> None:
    assert type(pickle.loads(pickle.dumps(make("one")))) is mirror.Mirror
