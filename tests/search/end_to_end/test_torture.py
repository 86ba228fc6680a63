"""The short form of `python tests/torture.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "torture.py"


@pytest.mark.slow  # kills, each in its place, are in the tests beside this one
def test_a_search_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, shared_home: Path, make_prose: Callable[..., str]
) -> None:
    text = tmp_path / "prose.txt"
    text.write_text("\n<|endoftext|>\n".join(make_prose(number) for number in range(60)))
    done = subprocess.run(
        [sys.executable, str(TORTURE), "--rounds", "1", "--seed", "1", "--source", str(text)],
        capture_output=True,
        text=True,
        env={**os.environ, "MINIGPT_HOME": str(shared_home)},
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same ledger" in done.stdout and "nothing lost" in done.stdout
