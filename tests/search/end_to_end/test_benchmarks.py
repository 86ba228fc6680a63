"""The benchmarks run, and the harness trains what a plain loop does. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow  # `test_running.py` compares a search's losses with runs alone, too
def test_the_harness_comes_to_the_losses_of_a_plain_loop(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    path = tmp_path / "numbers.json"
    words = ("--quick", "--max-concurrent", "1", "--corpus", "small", "--json", str(path))
    done = run_script("tests/benchmarks/search/overhead.py", *words)
    assert done.returncode == 0, done.stderr
    (numbers,) = json.loads(path.read_text())["rounds"]
    losses = numbers["val_losses"]
    assert losses["harness"] == losses["plain"]  # to the bit, each epoch of each trial
    assert len({tuple(epochs) for epochs in losses["plain"]}) == 4
    for name in ("start_up_seconds", "wind_up_seconds"):
        *parts, together = numbers[name].values()
        assert sum(parts) == pytest.approx(together)
    assert "| ray.init |" in done.stdout


@pytest.mark.slow
def test_the_concurrency_benchmark_compares_with_what_the_search_takes(
    command_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "numbers.json"
    words = ("--quick", "--corpus", "small", "--json", str(path))
    one_core = min(os.sched_getaffinity(0))  # one combination, one process
    done = subprocess.run(
        command_of("tests/benchmarks/search/concurrency.py", *words),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: os.sched_setaffinity(0, {one_core}),
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads(path.read_text())
    assert numbers["the_search_takes"] == [1, 1]
    [row] = numbers["rows"]
    assert (row["trials"], row["threads"]) == (1, 1) and row["tokens_per_second"][0] > 0
    assert "| 1 | 1 |" in done.stdout and "+0%" in done.stdout
