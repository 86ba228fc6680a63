"""The benchmark of preparation runs and says what it should; its times are not judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "data" / "prepare_speed.py"


@pytest.mark.slow
def test_quick(root: Path, text_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "numbers.json"
    command = [sys.executable, str(BENCHMARK), "--quick", "--source", str(text_file)]
    command += ["--folder", str(root), "--json", str(out)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    numbers = json.loads(out.read_text())
    stages = numbers["stage_seconds_one_process"]
    assert {"read, extract", "clean", "quality rules", "encode", "duplicates"} <= stages.keys()
    assert all(seconds >= 0 for seconds in stages.values())
    median = numbers["median"]
    assert median["whole_to_floor"] == median["whole"] / median["floor"]
    assert {"whole", "empty", "download", "floor"} == numbers["seconds"].keys()
    assert all(len(seconds) == 1 for seconds in numbers["seconds"].values())
    assert "| floor: tiktoken batch" in printed
