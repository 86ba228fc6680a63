"""`tests/benchmarks/gpu/racecheck.py` with a stand-in for compute-sanitizer, which says what it is
told to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "racecheck.py"
TOOL = """#!/bin/sh
[ "$1" != --help ] || { echo "  --kernel-name-exclude arg"; exit; }
echo "called with $*"
cat $SAYS
exit $ENDS
"""
BEGIN = "========= COMPUTE-SANITIZER\n96 sequences of 64 tokens\n"
PLANTED = """========= Error: Race reported between Write access at planted_race+0x90
=========     and Read access at planted_race+0xd0 [128 hazards]
=========
"""
LIBRARY = """========= Error: Race reported between Write access at cutlass::Kernel2<T1>
=========     and Read access at cutlass::Kernel2<T1>+0x2f0 [96 hazards]
=========
"""
TORCHS = """========= Warning: Race reported between Read access at at::native::reduce_kernel<T1>
=========     and Write access at at::native::reduce_kernel<T1> [6 hazards]
=========
"""
OURS = """========= {}: Race reported between Write access at softmax_kernel+0x90 in kernel.py:55
=========     and Read access at softmax_kernel+0xd0 in standard.py:290 [32 hazards]
=========
"""
END = "========= RACECHECK SUMMARY: 3 hazards displayed (2 errors, 1 warning)\n"


@pytest.mark.parametrize(
    ("said", "ends", "status", "verdict"),
    [
        (PLANTED + END, 0, 0, "In this project's: 0 races, 0 warnings"),
        (PLANTED + LIBRARY + TORCHS + END, 0, 0, "In others' kernels: 2 reports"),
        (PLANTED + OURS.format("Error") + END, 0, 9, "In this project's: 1 races, 0 warnings"),
        (PLANTED + OURS.format("Warning") + END, 0, 0, "In this project's: 0 races, 1 warnings"),
        (LIBRARY + END, 0, 1, "was not found, so that nothing is shown"),
        (PLANTED + OURS.format("Error"), 7, 9, "In this project's: 1 races, 0 warnings"),
        (PLANTED, 0, 1, "did not come to its end"),
        ("========= Error: Device not supported\n", 3, 3, "did not come to its end"),
        (PLANTED + END, 1, 1, "did not come to its end: status 1"),  # the steps failed
    ],
)
def test_only_races_of_our_own_fail_and_only_where_one_would_be_found(
    tmp_path: Path, said: str, ends: int, status: int, verdict: str
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    (tmp_path / "says").write_text(BEGIN + said)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SAYS": str(tmp_path / "says"),
        "ENDS": str(ends),
    }
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert verdict in done.stdout and said in done.stdout
    assert "--kernel-name-exclude kns=cublas,kns=cutlass," in done.stdout


def test_without_the_tool_nothing_passes(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PATH": str(tmp_path)}
    )
    assert done.returncode == 1 and "nothing was checked" in done.stdout
