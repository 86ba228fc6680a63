"""`--resume` with another share of the machine, another limit, and more of a sampler's trials."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.reports.page import setup_tables
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--corpus", "small", "--embed-dim", "16", "--val-tokens", "1024")
SAMPLER = ("--search", "tpe", *SMALL, "--epochs", "1", "--tokens-per-epoch", "4096")
ONE_AT_A_TIME = ("--max-concurrent", "1", "--cpus-per-trial", "1")


def trials_in(folder: Path) -> list[TrialRecord]:
    return Ledger(folder / "ledger.jsonl").trials


def threads_row(experiment: Experiment, trials: list[TrialRecord]) -> str:
    frame = setup_tables.provenance(experiment, trials)
    return str(dict(frame.itertuples(index=False, name=None)).get("Threads", ""))


@pytest.fixture(scope="module")
def sampled(run_script: Run, search_root: Path) -> Path:
    """The experiment `three`, of a sampler that was told to try three, one at a time."""
    done = run_script("search/run.py", *SAMPLER, *ONE_AT_A_TIME, "--trials", "3", "--name", "three")
    assert done.returncode == 0, done.stderr
    return search_root / "experiments" / "three"


@pytest.mark.slow
def test_a_trial_that_was_cut_goes_on_with_other_threads_and_its_record_says_so(
    run_script: Run, end_when: Run, search_root: Path
) -> None:
    folder = search_root / "experiments" / "cut-threads"
    words = (
        "--grid",
        "lr",
        "--lr",
        "1e-3,2e-3",
        *SMALL,
        "--epochs",
        "8",
        "--tokens-per-epoch",
        "4096",
    )
    resources = ("--max-concurrent", "1", "--cpus-per-trial", "2", "--checkpoint-every", "0.2")
    ended = end_when(
        lambda: any(folder.glob("checkpoints/*/step_*.pt")),
        *(*words, *resources, "--name", "cut-threads"),
        sent=signal.SIGINT,
    )
    assert ended.returncode == 1 and "Watch      python" in ended.stdout, ended.stderr
    changed = ("--max-concurrent", "2", "--cpus-per-trial", "1", "--checkpoint-every", "30")
    done = run_script("search/run.py", "--resume", "cut-threads", *changed, "--max-disk", "2GB")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("Changed")]
    assert "2 at a time (1 before)" in line and "1 threads a trial (2 before)" in line
    assert "2.0 GB on disk (no limit before)" in line and "predicted" in line
    assert "predicted were" not in done.stdout
    experiment, trials = read_experiment(folder), trials_in(folder)
    machine = experiment.machine
    assert (machine.max_concurrent, machine.threads_per_trial) == (2, 1)
    assert machine.checkpoint_every_seconds == 30 and experiment.storage.max_disk_bytes == 2e9
    assert {t.device.threads for t in trials if t.device is not None} == {1}
    [cut] = [trial for trial in trials if trial.attempts == 2]
    assert cut.threads_of_attempts == (2, 1)
    assert [t.threads_of_attempts for t in trials if t is not cut] == [()]
    assert "with 2, then 1" in threads_row(experiment, trials)
    again = run_script("search/rerun.py", "cut-threads", "--trial", cut.trial_id)
    assert again.returncode == 0 and "other threads" in again.stdout, again.stderr


@pytest.mark.slow  # four searches
def test_more_of_a_samplers_trials_are_those_it_would_have_tried_from_the_start(
    run_script: Run, sampled: Path
) -> None:
    before = trials_in(sampled)
    done = run_script("search/run.py", "--resume", "three", "--trials", "5")
    assert done.returncode == 0, done.stderr
    assert "5 configurations (3 before)" in done.stdout
    five = (*SAMPLER, *ONE_AT_A_TIME, "--trials", "5", "--name", "five")
    assert run_script("search/run.py", *five).returncode == 0
    trials = trials_in(sampled)
    assert trials[:3] == before
    assert [t.config for t in trials] == [t.config for t in trials_in(sampled.with_name("five"))]
    made = read_experiment(sampled)
    assert made.plan.samples == 5 and made.command[-2:] == ("--trials", "5")
    assert made.command.count("--trials") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("sampled")
def test_fewer_than_have_begun_are_refused_in_a_line(run_here: Any, search_root: Path) -> None:
    where = ("--out", str(search_root))
    ended = run_here("search/run.py", "--resume", "three", "--trials", "1", *where)
    assert ended.status == 2 and ended.err.count("\n") == 1
    assert "of three have begun; give that many or more" in ended.err
    many = run_here("search/run.py", "--resume", "three", "--max-concurrent", "999", *where)
    assert many.status == 2 and "999 at a time with 1 threads each find no room here" in many.err
