"""The real libraries, without a network: what a search wrote, read back by their own readers.

pip install -e ".[wandb,mlflow,trackio]"; a library that isn't there is skipped.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.search.records.ledger import Ledger

pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--corpus", "small", "--embed-dim", "16", "--tokens-per-epoch", "4096")


def search(run_script: Run, name: str, logger: str) -> str:
    """What a search of two rates printed that had this logger."""
    words = ("--lr", "1e-3,2e-3", "--epochs", "2", *SMALL, "--name", name, "--log", logger)
    done = run_script("search/run.py", *words)
    assert done.returncode == 0, done.stderr
    assert f"{logger} takes nothing more" not in done.stderr  # nothing went wrong
    assert f"{logger} doesn't keep up" not in done.stderr
    return done.stdout


def losses(root: Path, name: str) -> list[float]:
    """Both final losses, by the ledger."""
    ledger = Ledger(root / "experiments" / name / "ledger.jsonl")
    return sorted(record.final.val_loss_nats for record in ledger.complete())


def read_records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format: blocks of
    32 KiB, in them parts with a checksum, a length, and whether they begin or end a record."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 2**15 - at % 2**15 < 7:  # no room for a part's header
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_has_files_of_each_trial(
    run_script: Run, search_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    out = search(run_script, "to-wandb", "wandb")
    folder = search_root / "experiments" / "to-wandb"
    assert f"wandb sync {folder}/wandb/offline-run-*" in out
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    ends = []
    for file in files:
        summary: dict[str, Any] = {}
        steps = []
        for data in read_records(file.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("run"):
                assert record.run.project == "minigpt-search" and record.run.run_group == "to-wandb"
                assert record.run.display_name.startswith("lr=0.00")
                config = {
                    each.key: json.loads(each.value_json) for each in record.run.config.update
                }
                assert config.get("embed_dim", 16) == 16
            if record.HasField("history"):
                items = {(i.key or "/".join(i.nested_key)): i for i in record.history.item}
                steps.append(json.loads(items["step"].value_json))
            for each in record.summary.update:
                summary[each.key or "/".join(each.nested_key)] = json.loads(each.value_json)
        assert summary["status"] == "complete"
        assert steps == sorted(steps) and steps[-1] == 32
        ends.append(summary["val_loss_nats"])
    assert sorted(ends) == losses(search_root, "to-wandb")


# MLflow itself uses what a newer SQLAlchemy calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_has_a_run_of_each_trial(run_script: Run, search_root: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    out = search(run_script, "to-mlflow", "mlflow")
    uri = f"sqlite:///{search_root}/mlflow.db"
    assert f"mlflow ui --backend-store-uri {uri}" in out
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("to-mlflow")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.params["lr_peak"] for run in runs} == {"0.001", "0.002"}
    assert all(run.info.status == "FINISHED" for run in runs)
    assert all(run.data.tags["status"] == "complete" for run in runs)
    ends = sorted(run.data.metrics["val_loss_nats"] for run in runs)
    assert ends == losses(search_root, "to-mlflow")
    curve = client.get_metric_history(runs[0].info.run_id, "val/loss_nats")
    assert [point.step for point in curve] == [16, 32]


_READ_TRACKIO = """
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
runs = [
    {"name": r.name, "config": r.config,
     "logs": SQLiteStorage.get_logs("minigpt-search", r.name, run_id=r.id)}
    for r in trackio.Api().runs("minigpt-search")
]
print(json.dumps(runs))
"""


def test_trackio_has_a_run_of_each_trial(
    run_script: Run, search_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    search(run_script, "to-trackio", "trackio")
    done = subprocess.run(
        [sys.executable, "-c", _READ_TRACKIO], capture_output=True, text=True, env=dict(os.environ)
    )
    runs: list[dict[str, Any]] = json.loads(done.stdout)
    assert [run["config"]["_Group"] for run in runs] == ["to-trackio"] * 2
    assert {run["config"]["lr_peak"] for run in runs} == {1e-3, 2e-3}
    ends = []
    for run in runs:
        assert [e["step"] for e in run["logs"] if "val/loss_nats" in e] == [16, 32]
        [end] = [entry for entry in run["logs"] if "trial/status" in entry]
        assert end["trial/status"] == "complete"
        ends.append(end["trial/val_loss_nats"])
    assert sorted(ends) == losses(search_root, "to-trackio")


def test_what_trackio_can_t_keep_is_said_and_is_not_sent(
    run_script: Run, search_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library goes on with a warning."""
    pytest.importorskip("trackio")
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "file" / "trackio"))
    words = ("--lr", "1e-3,2e-3", "--epochs", "2", *SMALL, "--name", "unkept", "--log", "trackio")
    done = run_script("search/run.py", *words)
    assert done.returncode == 0 and done.stderr.count("trackio takes nothing more: ") == 1
    folder = search_root / "experiments" / "unkept"
    assert len(Ledger(folder / "ledger.jsonl").complete()) == 2
    assert not (folder / "loggers" / "trackio.txt").exists()
