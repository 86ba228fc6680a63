"""A worker with a storage: what it brings, trains, leaves, and whose fault a fault is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.sync.worker_files import node_root, worker_files
from minigpt_search.search.trials.reports import NO_STORAGE
from minigpt_search.search.trials.trial import Trial, grid_trials
from minigpt_search.search.worker import trainable

HOME = "experiments/x/checkpoints"


@pytest.fixture(autouse=True)
def node_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's home of the test's own."""
    monkeypatch.setenv("MINIGPT_NODE_HOME", str(tmp_path / "node"))


def there(storage: FolderStorage, trial: str) -> set[str]:
    return {key.split("/")[-1] for key in storage.list(f"{HOME}/{trial}")}


def test_a_worker_gets_plan_and_corpus_and_leaves_no_trial(
    storage: FolderStorage, stored_experiment: Experiment, driver_folder: Path, tmp_path: Path
) -> None:
    with worker_files(driver_folder, storage.uri) as (place, plan):
        assert plan == stored_experiment
        corpus = open_corpus(stored_experiment.corpus_folder(place.folder))
        assert corpus.content_hash == stored_experiment.corpus.content_hash
        assert place.folder.is_relative_to(tmp_path / "node")
        mode = stat.S_IMODE((tmp_path / "node").stat().st_mode)
        assert mode == 0o700
    storage.delete("experiments/x/experiment.json")
    with (
        pytest.raises(StorageError, match=r"there is no experiments/x/experiment.json"),
        worker_files(driver_folder, storage.uri),
    ):
        pass


@pytest.mark.parametrize("fault", ["somebody else's", "damaged corpus", "storage gone"])
def test_what_is_no_trials_fault_ends_the_search_and_no_trial(
    storage: FolderStorage, stored_experiment: Experiment, driver_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, fault: str,
) -> None:  # fmt: skip
    if fault == "somebody else's":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(UserError, match="set MINIGPT_NODE_HOME"):
            node_root(storage.uri)
    elif fault == "damaged corpus":
        storage.put_bytes(b"damaged", "corpus/small/val.pt")
    else:
        storage.root.rename(tmp_path / "gone")
    reports: list[dict[str, object]] = []
    monkeypatch.setattr(trainable.tune, "report", reports.append)
    trainable.run_trials(cell(grid_trials(stored_experiment)[0]), driver_folder, "a",
                         storage=storage.uri)  # fmt: skip
    [report] = reports
    assert report["status"] == NO_STORAGE
    error = str(report["error"])
    assert error.startswith(f"{storage.uri}: ") and "\n" not in error


def cell(trial: Trial) -> dict[str, object]:
    return {"pack": [{"values": trial.values, "replicate": trial.replicate}]}


def test_a_worker_trains_from_the_storage_and_leaves_all_there(
    storage: FolderStorage,
    stored_experiment: Experiment,
    driver_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports: list[dict[str, object]] = []
    monkeypatch.setattr(trainable.tune, "report", reports.append)
    trial = grid_trials(stored_experiment)[0]
    trainable.run_trials(cell(trial), driver_folder, "a", storage=storage.uri)
    assert reports[-1]["status"] == COMPLETE
    assert there(storage, trial.trial_id) == {"trial.json", "final.pt", "outcome.json"}
    [folder] = (tmp_path / "node").glob("*/experiments/x/checkpoints")
    assert list(folder.iterdir()) == []
