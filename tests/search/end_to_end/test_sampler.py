"""A sampler's search, two seeds for each configuration, under a limit for the disk; and a cut."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = (
    *("--search", "tpe", "--trials", "2", "--seeds", "2", "--epochs", "1,2", "--stop", "asha"),
    *("--corpus", "small", "--embed-dim", "16", "--tokens-per-epoch", "4096"),
    *("--val-tokens", "1024", "--max-concurrent", "1", "--cpus-per-trial", "1"),
    *("--max-disk", "36MB"),
)
"""With room for one trial's weights besides those of the running one."""


@pytest.fixture(scope="module")
def sampled(run_script: Run) -> subprocess.CompletedProcess[str]:
    """The experiment `tpe`."""
    done = run_script("search/run.py", *WORDS, "--name", "tpe")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def folder(sampled: subprocess.CompletedProcess[str], search_root: Path) -> Path:
    return search_root / "experiments" / "tpe"


def test_it_tries_what_it_was_told_to(
    sampled: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert "4 trials by tpe" in sampled.stdout and "2 seeds" in sampled.stdout
    trials = Ledger(folder / "ledger.jsonl").complete()
    cells = Counter(trial.config.replace(seed=0) for trial in trials)
    assert sorted(cells.values()) == [2, 2]
    assert len({config.train.lr_peak for config in cells}) == 2
    assert [trial.replicate for trial in trials] == [0, 1, 0, 1]
    assert len({trial.config.train.seed for trial in trials}) == 4
    assert all(len(t.epochs) == t.config.train.epochs for t in trials)


def test_under_the_least_limit_it_keeps_the_best_weights(
    sampled: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert "Disk       about 13.0 MB" in sampled.stdout and "Warning" not in sampled.stderr
    best = Ledger(folder / "ledger.jsonl").best()
    kept = {path.parent.name for path in folder.glob("checkpoints/*/final.pt")}
    assert best is not None and best.trial_id in kept and len(kept) < 4
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 36_000_000


@pytest.mark.slow
def test_after_a_cut_it_comes_to_the_same(run_script: Run, folder: Path) -> None:
    again = folder.with_name("tpe-again")
    read_experiment(folder).replace(name="tpe-again").write(again)
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (again / "ledger.jsonl").write_bytes(b"".join(lines[:3]))  # one seed of the second is missing
    resumed = run_script("search/run.py", "--resume", "tpe-again")
    assert resumed.returncode == 0, resumed.stderr
    there, here = (Ledger(home / "ledger.jsonl").trials for home in (folder, again))
    assert [(t.trial_id, t.epochs[-1].val_loss_nats) for t in there] == [
        (t.trial_id, t.epochs[-1].val_loss_nats) for t in here
    ]
