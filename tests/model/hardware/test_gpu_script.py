"""`tests/benchmarks/gpu.sh` with a stand-in for Python: one part's trouble is not the others'."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.sh"
PYTHON = """#!/bin/sh
case "$*" in
  *lacking.py*) [ -z "$LACKS" ] || echo "$LACKS"; exit;;
esac
echo "did $*"
case "$*" in
  *throughput.py*) echo broken >&2; exit 3;;
  *profile.py*) [ -z "$LEAVE" ] || { setsid sleep 60 & echo $! >$LEAVE; };;
  *packing.py*) [ -z "$HELD" ] || cat $HELD;;
  *long_run.py*) [ -z "$HANG" ] || { echo epoch 1; exec sleep 60; };;
  *machine.py*) [ -z "$HELD" ] || echo 9000 >$HELD;;
  *ten_shapes.py*) cd $TRITON_CACHE_DIR 2>&1 || mkdir $TRITON_CACHE_DIR && cd $TRITON_CACHE_DIR
    ls; echo > kernel;;
esac
"""
SMI = """#!/bin/sh
case "$*" in
  *compute-apps*) echo "77, python3, 8900 MiB";;
  *) cat $HELD; [ -z "$FREED" ] || [ $(cat $HELD) = 400 ] || echo 400 >$HELD;;
esac
"""
FIRST = ["machine", "correctness", "profile", "long-run", "long-run-compiled", "throughput"]
SECOND = ["search", "ten-shapes", "throughput-compiled", "racecheck", "correctness-compiled"]
SECOND += ["trials-per-gpu", "packs"]


def run(folder: Path, *parts: str, **variables: str) -> tuple[dict[str, str], str]:
    """How each part ended, and the log."""
    (folder / "bin").mkdir(exist_ok=True)
    programs = {"python3": PYTHON} | ({"nvidia-smi": SMI} if "HELD" in variables else {})
    for name, text in programs.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
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


def test_caches_that_are_too_large_are_said_and_left_out(tmp_path: Path) -> None:
    _, log = run(tmp_path, "ten-shapes", GPU_FILE_MIB="0")
    assert "What was compiled takes 0.0 MiB, more than 0: not in caches.tar.gz" in log
    assert not list((tmp_path / "results").glob("caches*"))
    assert "Files, in MiB: log.txt 0.0 (more than 0)" in log
    (tmp_path / "caches" / "triton" / "another").touch()
    _, log = run(tmp_path, "ten-shapes")
    assert "Files, in MiB: caches.tar.gz 0.0, log.txt 0.0\n" in log


def test_what_a_part_leaves_running_is_ended(tmp_path: Path) -> None:
    """In a session of its own no signal to the part reaches it, and it has the part's output."""
    began = time.monotonic()
    ends, log = run(tmp_path, "profile", LEAVE=str(tmp_path / "pid"))
    assert ends["profile"].startswith("status 0") and time.monotonic() - began < 30
    number = int((tmp_path / "pid").read_text())
    assert f"Left running, and ended: {number} sleep 60" in log
    with suppress(psutil.NoSuchProcess):  # nobody may ask for its status
        assert psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_a_part_begins_when_the_gpu_s_memory_is_free_again(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.write_text("400")
    _, log = run(tmp_path, "machine", "packs", HELD=str(held), FREED="1")
    assert re.search("did .*packing.py.*\n400\n", log)  # waited once
    assert "still has" not in log


def test_what_keeps_the_gpu_s_memory_is_said(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.write_text("400")
    ends, log = run(tmp_path, "machine", "packs", HELD=str(held), GPU_WAIT="1")
    assert "still has 8600 MiB more in use than at the start, by:\n77, python3, 8900 MiB" in log
    assert ends["packs"].startswith("status 0")


def test_a_part_that_lacks_something_is_left_out(tmp_path: Path) -> None:
    lacks = "search: ray, optuna\nworker-tests: ray\nracecheck: compute-sanitizer"
    ends, log = run(tmp_path, "second", LACKS=lacks)
    assert list(ends) == SECOND
    assert ends["search"] == "lacks ray, optuna" and ends["racecheck"] == "lacks compute-sanitizer"
    assert ends["correctness-compiled"].endswith("without tests/search, which lack ray")
    assert f"Lacking here: {lacks}".replace("\n", "; ") in log
    commands = "\n".join(line for line in log.splitlines() if line.startswith("did "))
    assert "ray_search" not in commands and "tests/search" not in commands
    assert log.index("Lacking") < log.index("did ")


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    command = ["bash", str(SCRIPT), str(tmp_path / "results"), "profle", "packs"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "profle: no such part" in done.stderr


def test_a_rehearsal_needs_no_gpu(tmp_path: Path) -> None:
    ends, log = run(tmp_path, "first", "second", GPU_REHEARSAL="1")
    assert list(ends) == FIRST + SECOND
    commands = [line for line in log.splitlines() if line.startswith("did ")]
    assert all("--device cpu" in line or "--collect-only" in line for line in commands)
    assert "cuda" not in "".join(commands)
