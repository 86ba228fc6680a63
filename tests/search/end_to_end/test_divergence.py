"""A search in which the highest rate diverges, by the real commands: its status, its advice, the
search that follows it, and a rerun of what diverged."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.model.records import COMPLETE, DIVERGED
from minigpt_search.search import run as run_module
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--corpus", "small", "--embed-dim", "16", "--tokens-per-epoch", "4096")


@pytest.fixture(scope="module")
def diverging(run_script: Run) -> subprocess.CompletedProcess[str]:
    """The experiment `diverging`: the highest of its three rates diverges."""
    return run_script("search/run.py", "--lr", "2e-3,2e-2,1", "--name", "diverging", *SMALL)


def test_a_rate_that_is_too_high_is_a_result_and_rates_below_it_come_next(
    diverging: subprocess.CompletedProcess[str], run_script: Run, search_root: Path
) -> None:
    done = diverging
    assert done.returncode == 0, done.stdout + done.stderr
    trials = Ledger(search_root / "experiments" / "diverging" / "ledger.jsonl").trials
    bad = next(trial for trial in trials if trial.status == DIVERGED)
    assert re.search(r"^lr=1 +diverged", done.stdout, re.MULTILINE)
    assert "2 of 3 trials finished; 1 diverged." in done.stdout
    assert "Diverged   1 trial, at an end of what was tried" in done.stdout

    advised = re.search(r"^Command +python (.*)$", done.stdout, re.MULTILINE)
    assert advised is not None and "lr=1 and above diverged: try between 0.02" in done.stdout
    script, *words = shlex.split(advised[1])
    rates = words[words.index("--lr") + 1].split(",")
    assert rates[:2] == ["0.002", "0.02"] and all(float(rate) < 1 for rate in rates)
    words = words[: words.index("--out")] if "--out" in words else words
    nearer = run_script(script, *words, "--name", "nearer")
    assert "2 of its trials are taken over; left out: 1 that diverged" in nearer.stdout
    follower = search_root / "experiments" / "nearer"
    [point] = read_experiment(follower).reuse.failed_points
    assert point.values == {"lr": 1.0} and point.reason == DIVERGED
    statuses = {t.config.train.lr_peak: t.status for t in Ledger(follower / "ledger.jsonl").trials}
    assert statuses[2e-3] == statuses[2e-2] == COMPLETE and 1.0 not in statuses
    assert "upper edge" not in nearer.stdout

    rerun = run_script("search/rerun.py", "diverging", "--trial", bad.trial_id)
    assert rerun.returncode == 2
    where = f"it diverged at step {bad.steps}, in epoch 1 of 1: loss or gradient"
    assert where in rerun.stderr and "nats" in rerun.stderr


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ((2e-2,), "1 trial; not at an end of what was tried: lr=0.02"),
        ((2e-3, 2e-2, 1.0), "3 trials, and there is no result"),
    ],
)
def test_what_diverged_inside_or_everywhere_is_no_whole_search(
    diverging: subprocess.CompletedProcess[str],
    run_here: Callable[..., Any],
    search_root: Path,
    bad: tuple[float, ...],
    said: str,
) -> None:
    """Nothing is trained: the ledger says that these rates diverged and the others did not."""
    before = search_root / "experiments" / "diverging"
    name = f"diverged{len(bad)}"
    folder = search_root / "experiments" / name
    read_experiment(before).replace(name=name).write(folder)
    trials = Ledger(before / "ledger.jsonl").trials
    good = next(trial for trial in trials if trial.status == COMPLETE)
    for trial in trials:
        diverged = trial.config.train.lr_peak in bad
        ended = dataclasses.replace(
            trial,
            status=DIVERGED if diverged else COMPLETE,
            epochs=() if diverged else good.epochs,
            error="step 5: loss or gradient exploded" if diverged else None,
        )
        Ledger(folder / "ledger.jsonl").append(ended)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_search", lambda *_: None)
        done = run_here("search/run.py", "--resume", name, "--out", str(search_root))
    assert done.status == 1, done.err
    assert f"Diverged   {said}" in done.out
