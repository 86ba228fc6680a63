"""A search that stops trials, interrupted and resumed; and one with a budget."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from minigpt_search.model.records import COMPLETE, STOPPED
from minigpt_search.search.early_stopping.rungs import read_rungs
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import trial_folder

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--corpus", "small", "--embed-dim", "16")
SMALL += ("--tokens-per-epoch", "4096", "--val-tokens", "1024")
ONE_AT_A_TIME = ("--max-concurrent", "1", "--cpus-per-trial", "1")


@pytest.mark.slow
def test_an_interrupted_search_says_how_to_go_on_and_does_with_the_rungs_of_its_files(
    run_script: Run, end_when: Run, search_root: Path
) -> None:
    folder = search_root / "experiments" / "stopping"
    rates = "--lr", "1e-2,8e-3,1e-4,2e-4"  # one at a time: the third and fourth are behind
    words = *rates, "--stop", "asha", *ONE_AT_A_TIME, "--name", "stopping", *SMALL
    path = folder / "ledger.jsonl"

    def one_is_over() -> bool:
        return path.exists() and len(Ledger(path).trials) > 0

    ended = end_when(one_is_over, *words, sent=signal.SIGINT)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "search/run.py --resume stopping" in ended.stdout
    resumed = run_script("search/run.py", "--resume", "stopping")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    trials = Ledger(folder / "ledger.jsonl").trials
    assert [trial.status for trial in trials] == [COMPLETE, COMPLETE, STOPPED, STOPPED]
    for trial in trials:
        known = read_rungs(trial_folder(folder, trial.trial_id))
        assert known is not None and known.rungs == trial.rungs and known.stopped == trial.error
        if trial.status == STOPPED:
            assert trial.error is not None and trial.error in resumed.stderr
            rate = f"lr={trial.config.train.lr_peak:.4g}"
            [row] = [row for row in resumed.stdout.splitlines() if row.startswith(f"{rate} ")]
            assert row.split()[1:3] == ["stopped", str(trial.steps)] and trial.error in row
            assert trial.steps == trial.rungs[-1].step and trial.checkpoint is None
    assert "2 of 4 trials finished; 2 stopped." in resumed.stdout
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.load_study(study_name="stopping", storage=storage)
    assert [trial.state.name for trial in study.trials] == [*2 * ["COMPLETE"], *2 * ["PRUNED"]]


@pytest.mark.slow  # takes its minute, and a machine that does other things may need longer
def test_a_sampler_with_a_budget_ends_inside_it_and_nothing_is_missing(
    run_script: Run, search_root: Path
) -> None:
    (search_root / "calibration.json").unlink(missing_ok=True)  # no made-up speeds here
    began = time.monotonic()
    words = "--search", "tpe", "--grid", "lr", "--budget", "60s", "--name", "budget", *SMALL
    done = run_script("search/run.py", *words, "--trials", "3")
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    folder = search_root / "experiments" / "budget"
    experiment, ledger = read_experiment(folder), Ledger(folder / "ledger.jsonl")
    assert 1 <= len(ledger.complete()) == experiment.planned_trials <= 3
    assert took < 60 and "the budget was 60.0 s" in done.stdout
    assert (folder / "clock.json").is_file()
    assert "ends " in done.stderr
