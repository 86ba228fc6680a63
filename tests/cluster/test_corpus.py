"""A corpus made on several Ray nodes, killed in every way, is that of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

CHECKOUT = Path(__file__).resolve().parents[2]
BENCHMARKS = CHECKOUT / "tests" / "benchmarks"


def test_one_process_and_several_nodes_make_the_same(shared_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("botocore")  # its text
    numbers = tmp_path / "numbers.json"
    command = [sys.executable, str(BENCHMARKS / "data" / "corpus_cluster.py"), "2", "--quick"]
    command += ["--nodes", "2", "--folder", str(shared_home), "--json", str(numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    rows = json.loads(numbers.read_text())
    assert len({row["content_hash"] for row in rows.values()}) == 1
    assert rows["killed-and-resumed"]["files_before"] >= 1


def test_another_token_is_refused_in_one_line(
    root: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "common"))
    from ray_nodes import RayNodes

    command = [sys.executable, str(CHECKOUT / "data" / "prepare.py"), "--source", str(text_file)]
    command += ["--quiet", "--out", str(root), "--work", str(root / "w")]
    with RayNodes() as nodes:
        environment = {**nodes.environment, "RAY_AUTH_TOKEN": "0" * 64}
        command += ["--address", nodes.address]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 2
        assert f"--address {nodes.address}: cannot join" in done.stderr
        assert done.stderr.count("\n") == 1
        empty = subprocess.run(
            command, capture_output=True, text=True, env=nodes.environment, check=False
        )
    assert empty.returncode == 2
    assert "the cluster has no node with a processor to work with" in empty.stderr
    assert not (root / "corpus").exists()


def test_a_ray_of_our_own(root: Path, text_file: Path) -> None:
    """`--address local`: what it prints is what a preparation prints, and nothing is left."""
    command = [sys.executable, str(CHECKOUT / "data" / "prepare.py"), "--source", str(text_file)]
    command += ["--out", str(root), "--address", "local", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plan ") and "\ntokens " in done.stdout
    assert sorted(path.name for path in root.iterdir()) == ["corpus", "downloads"]
