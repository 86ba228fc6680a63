"""`tests/benchmarks/gpu.sh` with a stand-in for Python: one part's trouble is not the others'."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.sh"
PYTHON = """#!/bin/sh
case "$*" in
  *throughput.py*) echo broken >&2; exit 3;;
  *long_run.py*) echo epoch 1; exec sleep 60;;
esac
echo "did $*"
"""


def run(folder: Path, *parts: str, seconds: int = 570) -> tuple[dict[str, str], str]:
    """How each part ended, and the log."""
    (folder / "bin").mkdir(exist_ok=True)
    python = folder / "bin" / "python3"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "GPU_SECONDS": str(seconds),
    }
    out = folder / "results"
    command = ["bash", str(SCRIPT), str(out), *parts]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    summary = done.stdout.rpartition("\n\n")[2]
    ends = dict(line.split(": ", 1) for line in summary.splitlines())
    return ends, (out / "log.txt").read_text()


def test_a_part_that_fails_or_hangs_leaves_the_others_their_turn(tmp_path: Path) -> None:
    parts = ("correctness", "throughput", "long-run", "packs")
    ends, log = run(tmp_path, *parts, seconds=12)
    assert list(ends) == list(parts)
    assert ends["correctness"].startswith("status 0")
    assert ends["throughput"].startswith("status 3")
    assert ends["long-run"].startswith("status 124")
    assert ends["packs"] == "no time left"
    assert "broken" in log and "epoch 1" in log  # what was printed before is kept
    ends, log = run(tmp_path, "packs")
    assert ends["packs"].startswith("status 0") and list(ends) == ["packs"]
    assert "epoch 1" in log and re.search("did training/packing.py .*--json", log)
