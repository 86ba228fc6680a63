"""`--confirm` with the real command, killed while it confirms and resumed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.model.records import COMPLETE
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.results import Results

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--lr", "1e-3,1e-5"),
        ("--lr", "1e-3,1e-5", "--paired"),
        ("--search", "tpe", "--trials", "3"),
    ],
)
def test_killed_while_it_confirms_it_goes_on_and_the_winner_is_rerun(
    words: tuple[str, ...],
    run_script: Run,
    end_when: Run,
    search_root: Path,
) -> None:
    name = f"confirmed{len(words)}"
    words = (*words, "--corpus", "small", "--embed-dim", "16", "--confirm", "2", "--name", name)
    if "--search" in words:
        words += ("--grid", "lr")
    path = search_root / "experiments" / name / "ledger.jsonl"
    words += ("--confirm-seeds", "2")
    end_when(lambda: path.exists() and any(t.replicate for t in Ledger(path).trials), *words)
    before = {t.trial_id: t.ended_at for t in Ledger(path).trials}

    resumed = run_script("search/run.py", "--resume", name)
    assert resumed.returncode == 0, resumed.stderr
    experiment, ledger = read_experiment(path.parent), Ledger(path)
    assert Results(experiment, ledger).missing_trials == 0
    assert all(t.status == COMPLETE for t in ledger.trials)
    assert sorted(t.replicate for t in ledger.trials if t.replicate) == [1, 1, 2, 2]
    assert len(ledger.trials) == experiment.planned_trials + 4
    assert before.items() <= {t.trial_id: t.ended_at for t in ledger.trials}.items()
    seeds = {t.config.train.seed for t in ledger.trials}
    assert len(seeds) == (3 if "--paired" in words else len(ledger.trials))
    assert (", paired" in resumed.stdout) == ("--paired" in words)
    assert "Use        lr=" in resumed.stdout and "2 fresh seeds" in resumed.stdout
    best = Results(experiment, ledger).winning_trial
    assert best is not None and best.replicate == 1
    rerun = run_script("search/rerun.py", name)
    assert rerun.returncode == 0, rerun.stderr
    assert Ledger(path).reruns[-1].trial_id == best.trial_id
