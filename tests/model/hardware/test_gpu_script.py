"""`tests/benchmarks/gpu.sh` with a stand-in for Python: one part's trouble is not the others'."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.sh"
PYTHON = """#!/bin/sh
case "$*" in
  *lacking.py*) [ -z "$LACKS" ] || echo "$LACKS"; [ -z "$BROKEN" ]; exit;;
esac
echo "did $*"
case "$*" in
  *throughput.py*) echo broken >&2; exit 3;;
  *profile.py*) [ -z "$LEAVE" ] || { setsid sleep 60 & echo $! >$LEAVE; };;
  *packing.py*) [ -z "$HELD" ] || cat $HELD;;
  *long_run.py*) [ -z "$HANG" ] || { echo $$ >$HANG; echo epoch 1; exec sleep 60; };;
  *machine.py*) [ -z "$HELD" ] || echo 9000 >$HELD;;
  *ten_shapes.py*) cd $TRITON_CACHE_DIR 2>&1 || mkdir $TRITON_CACHE_DIR && cd $TRITON_CACHE_DIR
    ls; echo > kernel; [ -z "$BIG" ] || head -c 1500000 /dev/urandom > kernel;;
esac
"""
FULL_DISK = """#!/bin/sh
echo half >"$2"; echo "no space left" >&2; exit 2
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


def prepared(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    """The environment, with the stand-ins before all other programs."""
    (folder / "bin").mkdir(exist_ok=True)
    programs = {"python3": PYTHON} | ({"nvidia-smi": SMI} if "HELD" in variables else {})
    for name, text in programs.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    own = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "GPU_CACHES": str(folder / "caches"),
    }
    return os.environ | own | variables


def ends_of(output: str) -> dict[str, str]:
    summary = output.rpartition("\n\n")[2]
    return dict(line.split(": ", 1) for line in summary.splitlines())


def run(folder: Path, *parts: str, **variables: str) -> tuple[dict[str, str], str]:
    """How each part ended, and the log; the folder for results is named from where we stand."""
    environment = prepared(folder, variables)
    command = ["bash", str(SCRIPT), "results", *parts]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    ends = ends_of(done.stdout)
    ran = any(end.startswith("status") for end in ends.values())
    well = all(end.startswith(("status 0", "lacks")) for end in ends.values())
    assert done.returncode == (0 if ran and well else 1), done.stdout + done.stderr
    return ends, (folder / "results" / "log.txt").read_text()


def start(folder: Path, *parts: str, **variables: str) -> subprocess.Popen[str]:
    """As from a terminal: signals to its group reach it, and have their usual effect."""
    command = ["env", "--default-signal", "bash", str(SCRIPT), "results", *parts]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=prepared(folder, variables),
        cwd=folder,
        start_new_session=True,
    )


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("not in 30 s")


def has_ended(pid: Path) -> bool:
    with suppress(psutil.NoSuchProcess):  # nobody may ask for its status
        return psutil.Process(int(pid.read_text())).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_part_that_fails_or_hangs_leaves_the_others_their_turn(tmp_path: Path) -> None:
    parts = ("throughput", "long-run-compiled", "packs")
    ends, log = run(tmp_path, *parts, GPU_SECONDS="13", HANG=str(tmp_path / "pid"))
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
    (tmp_path / "caches" / "triton").rmdir()  # an empty folder doesn't keep them from being read
    archive = tmp_path / "caches.tar.gz"
    archive.write_bytes(kept.read_bytes()[:-20])
    _, log = run(tmp_path, "machine")
    assert f"{archive} could not be unpacked" in log
    assert not list((tmp_path / "caches").iterdir())  # no half of them
    kept.rename(archive)
    _, log = run(tmp_path, "ten-shapes")
    assert "\nkernel\n" in log and log.count("could not be unpacked") == 1


def test_a_full_disk_leaves_the_caches_that_were_there(tmp_path: Path) -> None:
    run(tmp_path, "ten-shapes")
    kept = tmp_path / "results" / "caches.tar.gz"
    before = kept.read_bytes()
    (tmp_path / "bin" / "tar").write_text(FULL_DISK)
    (tmp_path / "bin" / "tar").chmod(0o755)
    _, log = run(tmp_path, "ten-shapes")
    assert kept.read_bytes() == before and "could not be packed" in log
    assert {path.name for path in (tmp_path / "results").iterdir()} == {kept.name, "log.txt"}


def test_caches_that_are_too_large_are_said_and_left_out(tmp_path: Path) -> None:
    _, log = run(tmp_path, "ten-shapes", GPU_FILE_MIB="1", BIG="1")
    assert "What was compiled takes 1.4 MiB, more than 1: not in caches.tar.gz" in log
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["log.txt"]
    _, log = run(tmp_path, "ten-shapes", BIG="1")
    assert "Files, in MiB: caches.tar.gz 1.4, log.txt 0.0\n" in log
    _, log = run(tmp_path, "machine", GPU_FILE_MIB="1")
    assert "Files, in MiB: caches.tar.gz 1.4 (more than 1), log.txt 0.0\n" in log


def test_what_an_earlier_call_left_is_put_aside_and_calls_have_a_head(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "packing.json").write_text("old")
    (results / "profile.json").write_text("of a part that isn't run again")
    _, log = run(tmp_path, "packs")
    assert not (results / "packing.json").exists() and (results / "profile.json").exists()
    assert (results / "before" / "packing.json").read_text() == "old"
    assert "Of an earlier call, and now in before/: packing.json" in log
    _, log = run(tmp_path, "packs", "machine")
    heads = re.findall(r"=== \S+ \S+ UTC, commit (\S+): gpu.sh results (.*)", log)
    assert [words for _, words in heads] == ["packs", "packs machine"]


@pytest.mark.parametrize(("name", "number"), [("INT", 2), ("TERM", 15), ("HUP", 1)])
def test_a_signal_ends_the_part_that_runs_and_the_call(
    tmp_path: Path, name: str, number: int
) -> None:
    """From a terminal or an outer `timeout`: to the whole group, which the part is not in."""
    pid, log = tmp_path / "pid", tmp_path / "results" / "log.txt"
    with start(tmp_path, "machine", "long-run-compiled", "packs", HANG=str(pid)) as script:
        until(lambda: log.is_file() and "epoch 1" in log.read_text())
        assert "=== machine: status 0" in log.read_text()  # at once
        script.send_signal(number)  # as `timeout` does: to the process, and to its group
        os.killpg(script.pid, number)
        output, _ = script.communicate(timeout=30)
    assert script.returncode == 128 + number and has_ended(pid)
    assert output.endswith(log.read_text()[-100:])  # neither lacks the end
    ends = ends_of(output)
    assert list(ends) == ["machine", "long-run-compiled"]
    assert ends["long-run-compiled"].startswith(f"ended by SIG{name}")
    assert "packing.py" not in output


@pytest.mark.skipif(not shutil.which("setpriv"), reason="what ties a part to the script")
def test_a_part_ends_with_a_script_that_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with start(tmp_path, "long-run", HANG=str(pid)) as script:
        until(lambda: pid.is_file() and pid.read_text() != "")
        script.send_signal(signal.SIGKILL)
    until(lambda: has_ended(pid))


def test_what_a_part_leaves_running_is_ended(tmp_path: Path) -> None:
    """In a session of its own no signal to the part reaches it, and it has the part's output."""
    began = time.monotonic()
    ends, log = run(tmp_path, "profile", LEAVE=str(tmp_path / "pid"))
    assert ends["profile"].startswith("status 0") and time.monotonic() - began < 30
    pid = tmp_path / "pid"
    assert f"Left running, and ended: {pid.read_text().strip()} sleep 60" in log
    assert has_ended(pid)


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


def test_a_call_of_which_no_part_could_run_fails(tmp_path: Path) -> None:
    ends, _ = run(tmp_path, "search", LACKS="search: ray")
    assert ends == {"search": "lacks ray"}


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (["results", "profle"], {}, "profle: no such part; there are first second machine "),
        (["-n"], {}, "-n: no such option"),
        (["second"], {}, "the results' folder comes first: gpu.sh FOLDER second (or ./second"),
        (["packs", "search"], {}, "the results' folder comes first: gpu.sh FOLDER packs search"),
        (["results"], {"GPU_SECONDS": "ten"}, "GPU_SECONDS=ten: no positive whole number"),
        (["results"], {"GPU_SECONDS": "-5"}, "GPU_SECONDS=-5: no positive whole number"),
        (["results"], {"GPU_FILE_MIB": "0"}, "GPU_FILE_MIB=0: no positive whole number"),
        (["file"], {}, "/file can't be written to as a folder"),
        ([], {"OUT": "file/results"}, "/file/results can't be written to as a folder"),
    ],
)
def test_what_can_t_be_meant_is_refused_in_a_line(
    tmp_path: Path, words: list[str], variables: dict[str, str], told: str
) -> None:
    (tmp_path / "file").touch()
    environment = prepared(tmp_path, variables)
    command = ["bash", str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "file"}


def test_help_is_the_head_of_the_script(tmp_path: Path) -> None:
    command = ["bash", str(SCRIPT), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "gpu.sh FOLDER second" in done.stdout and "set -" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_without_python_nothing_is_begun(tmp_path: Path) -> None:
    environment = prepared(tmp_path, {"BROKEN": "1"})
    command = ["bash", str(SCRIPT), "results", "packs"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and "what parts lack could not be found out" in done.stdout
    assert done.stdout == (tmp_path / "results" / "log.txt").read_text()
    assert "did" not in done.stdout


def test_a_rehearsal_needs_no_gpu(tmp_path: Path) -> None:
    ends, log = run(tmp_path, "first", "second", GPU_REHEARSAL="1")
    assert list(ends) == FIRST + SECOND
    commands = [line for line in log.splitlines() if line.startswith("did ")]
    assert all("--device cpu" in line or "--collect-only" in line for line in commands)
    assert "cuda" not in "".join(commands)
