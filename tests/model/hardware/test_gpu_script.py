"""`tests/benchmarks/gpu.sh` with a stand-in for Python: one part's trouble is not the others'."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.sh"
PYTHON = """#!/bin/sh
echo "did $*"
case "$*" in
  *throughput.py*) echo broken >&2; exit 3;;
  *long_run.py*) [ -z "$HANG" ] || { echo epoch 1; exec sleep 60; };;
  *ten_shapes.py*) cd $TRITON_CACHE_DIR 2>&1 || mkdir $TRITON_CACHE_DIR && cd $TRITON_CACHE_DIR
    ls; echo > kernel;;
esac
"""
FIRST = ["machine", "correctness", "profile", "long-run", "long-run-compiled", "throughput"]
SECOND = ["search", "ten-shapes", "throughput-compiled", "racecheck", "correctness-compiled"]
SECOND += ["trials-per-gpu", "packs"]


def run(folder: Path, *parts: str, **variables: str) -> tuple[dict[str, str], str]:
    """How each part ended, and the log."""
    (folder / "bin").mkdir(exist_ok=True)
    python = folder / "bin" / "python3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "GPU_CACHES": str(folder / "caches"),
    }
    out = folder / "results"
    command = ["bash", str(SCRIPT), str(out), *parts]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment | variables, check=True
    )
    summary = done.stdout.rpartition("\n\n")[2]
    ends = dict(line.split(": ", 1) for line in summary.splitlines())
    return ends, (out / "log.txt").read_text()


def test_a_part_that_fails_or_hangs_leaves_the_others_their_turn(tmp_path: Path) -> None:
    parts = ("throughput", "long-run-compiled", "packs")
    ends, log = run(tmp_path, *parts, GPU_SECONDS="13", HANG="1")
    assert ends["long-run-compiled"].startswith("status 124")
    assert ends["packs"] == ends["throughput"] == "no time left"
    assert "epoch 1" in log  # what was printed before is kept
    ends, log = run(tmp_path, "packs", "throughput")
    assert ends["packs"].startswith("status 0") and ends["throughput"].startswith("status 3")
    assert list(ends) == ["throughput", "packs"]
    assert "epoch 1" in log and re.search("did .*training/packing.py .*--json", log)
    assert "broken" in log


def test_there_are_two_calls_that_leave_few_files(tmp_path: Path) -> None:
    ends, log = run(tmp_path)
    assert list(ends) == FIRST
    assert "--uncompiled" in log and "--contenders ours,ours-compiled," in log
    ends, log = run(tmp_path, "second")
    assert list(ends) == SECOND
    written = set(re.findall(r"(\S+/results/\S+)", log))
    assert len(written) + 2 <= 2 * 8  # and a log and the caches
    assert log.count("--continue-on-collection-errors -k") == 2
    assert "-k not compiled" in log and "-k compiled" in log


def test_what_was_compiled_is_kept_for_another_call(tmp_path: Path) -> None:
    run(tmp_path, "ten-shapes")
    kept = tmp_path / "results" / "caches.tar.gz"
    assert kept.is_file() and not list(tmp_path.rglob("*.part"))
    for path in (tmp_path / "caches" / "triton").iterdir():
        path.unlink()
    (tmp_path / "caches" / "triton").rmdir()
    (tmp_path / "caches").rmdir()
    kept.rename(tmp_path / "caches.tar.gz")
    _, log = run(tmp_path, "ten-shapes")
    assert "\nkernel\n" in log


def test_a_rehearsal_needs_no_gpu(tmp_path: Path) -> None:
    ends, log = run(tmp_path, "first", "second", GPU_REHEARSAL="1")
    assert list(ends) == FIRST + SECOND
    commands = [line for line in log.splitlines() if line.startswith("did ")]
    assert all("--device cpu" in line or "--collect-only" in line for line in commands)
    assert "cuda" not in "".join(commands)
