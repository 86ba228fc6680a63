"""A search whose logger can't do anything: the same losses, status 0, one line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.search.records.ledger import Ledger

_NO_NETWORK = """
def Settings(**given): return None
def init(**given): raise ConnectionError("no network")
"""


@pytest.mark.slow
def test_a_search_goes_on_without_its_logger(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
    fake_library: Callable[[str, str], None],
    search_root: Path,
) -> None:
    fake_library("wandb", _NO_NETWORK)
    words = ("--lr", "1e-3,2e-3", "--corpus", "small", "--embed-dim", "16")
    short = (*words, "--tokens-per-epoch", "4096", "--max-concurrent", "1")
    # Ray imports MLflow by itself, to count callbacks.
    fake_library("mlflow", 'raise RuntimeError("broken")')
    done = run_script("search/run.py", *short, "--name", "lost", "--log", "wandb,mlflow")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("wandb takes nothing more: ConnectionError: no network") == 1
    assert done.stderr.count("mlflow takes nothing more: RuntimeError: broken") == 1
    assert len(Ledger(search_root / "experiments" / "lost" / "ledger.jsonl").complete()) == 2
