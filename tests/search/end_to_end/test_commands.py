"""The real commands on a small corpus: search, report, rerun, export, and a kill half-way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.trial import grid_trials

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--corpus", "small", "--embed-dim", "16")
"""Flags of a search whose trials take about two seconds."""


@pytest.fixture(scope="module")
def undisturbed(run_script: Run, search_root: Path) -> subprocess.CompletedProcess[str]:
    """The experiment `lr`, run to its end."""
    done = run_script("search/run.py", "--grid", "lr", "--name", "lr", *SMALL)
    assert done.returncode == 0, done.stderr
    return done


def folder_of(root: Path, name: str) -> Path:
    return root / "experiments" / name


def losses(folder: Path) -> dict[str, list[float]]:
    trials = Ledger(folder / "ledger.jsonl").trials
    assert all(trial.status == COMPLETE for trial in trials)
    return {trial.trial_id: [epoch.val_loss_nats for epoch in trial.epochs] for trial in trials}


def test_the_main_job_trains_four_rates_and_says_what_is_next(
    undisturbed: subprocess.CompletedProcess[str], search_root: Path
) -> None:
    folder = folder_of(search_root, "lr")
    ledger, experiment = Ledger(folder / "ledger.jsonl"), read_experiment(folder)
    assert {t.trial_id for t in ledger.complete()} == {t.trial_id for t in grid_trials(experiment)}
    assert len({t.final.val_loss_nats for t in ledger.complete()}) == 4
    assert all(t.attempts == 1 for t in ledger.trials)
    out = undisturbed.stdout
    assert "no GPU" in out and "--preset full about" in out
    assert str(folder / "ledger.jsonl") in out
    assert "python search/rerun.py lr" in out
    best = ledger.best()
    assert best is not None and f"{best.final.val_loss_nats:.4f}" in out


def test_no_word_of_rays_is_on_the_screen(
    undisturbed: subprocess.CompletedProcess[str],
) -> None:
    screen = undisturbed.stdout + undisturbed.stderr
    assert not re.search(r"\bray\b|raylet|WARNING|Traceback|trial_id", screen, re.IGNORECASE)
    assert len(re.split(r"[\r\n]+", undisturbed.stderr)) < 60


def test_nothing_of_rays_is_left_and_events_and_study_are_there(
    undisturbed: subprocess.CompletedProcess[str], search_root: Path
) -> None:
    folder = folder_of(search_root, "lr")
    assert not (folder / "ray").exists()
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("step_*.pt"))
    assert len(list(folder.glob("tensorboard/*/events*"))) == 4
    study = optuna.load_study(study_name="lr", storage=f"sqlite:///{folder / 'study.db'}")
    best = Ledger(folder / "ledger.jsonl").best()
    assert best is not None and study.best_value == best.final.val_loss_nats
    assert study.best_params == {"lr": best.config.train.lr_peak}


def test_packs_leave_the_same_trials_and_curves_also_when_they_were_killed(
    undisturbed: subprocess.CompletedProcess[str],
    run_script: Run,
    command_of: Callable[..., list[str]],
    search_root: Path,
) -> None:
    folder = folder_of(search_root, "packed")
    words = ("--grid", "lr", "--pack", "2", "--name", "packed", *SMALL)
    kill_after_first_record(command_of("search/run.py", *words), folder)
    resumed = run_script("search/run.py", "--resume", "packed")
    assert resumed.returncode == 0, resumed.stderr
    assert read_experiment(folder).machine.pack == 2
    assert {trial.pack for trial in Ledger(folder / "ledger.jsonl").trials} == {2}
    packed, alone = losses(folder), losses(folder_of(search_root, "lr"))
    assert packed.keys() == alone.keys()
    for name, expected in alone.items():  # rounding; bf16 where the processor has it
        assert packed[name] == pytest.approx(expected, rel=1e-3)


def test_the_rerun_has_the_same_bits_and_its_export_is_named(
    undisturbed: subprocess.CompletedProcess[str], run_script: Run, search_root: Path
) -> None:
    rerun = run_script("search/rerun.py", "lr")
    assert rerun.returncode == 0, rerun.stderr
    assert "the same bits, on the same machine" in rerun.stdout
    folder = folder_of(search_root, "lr")
    [record] = Ledger(folder / "ledger.jsonl").reruns
    assert record.same_bits and record.val_loss_nats == record.ledger_val_loss_nats
    assert (folder / record.checkpoint.path).is_file()
    assert "model/export.py" in rerun.stdout
    report = run_script("reports/generate.py", "lr")
    assert report.returncode == 0, report.stderr
    assert (folder / "report" / "report.html").is_file()


def test_another_trial_than_the_best_is_rerun_by_its_id(
    undisturbed: Any, run_script: Run, search_root: Path
) -> None:
    folder = folder_of(search_root, "lr")
    ledger = Ledger(folder / "ledger.jsonl")
    worst = max(ledger.complete(), key=lambda trial: trial.final.val_loss_nats)
    rerun = run_script("search/rerun.py", "lr", "--trial", worst.trial_id)
    assert rerun.returncode == 0, rerun.stderr
    assert Ledger(ledger.path).reruns[-1].trial_id == worst.trial_id
    unknown = run_script("search/rerun.py", "lr", "--trial", "abc")
    assert unknown.returncode == 2 and "--trial abc" in unknown.stderr


@pytest.fixture(scope="module")
def sampled(run_script: Run) -> subprocess.CompletedProcess[str]:
    """The experiment `tpe`, with room for one trial's weights besides those of running ones."""
    words = ("--search", "tpe", "--trials", "4", "--epochs", "1,2", "--name", "tpe", *SMALL)
    words += ("--max-concurrent", "2", "--cpus-per-trial", "1", "--max-disk", "64MB")
    done = run_script("search/run.py", *words)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.usefixtures("sampled")
def test_a_sampler_tries_what_it_was_told_to(search_root: Path) -> None:
    trials = Ledger(folder_of(search_root, "tpe") / "ledger.jsonl").complete()
    assert len(trials) == 4
    assert len({t.config.train.lr_peak for t in trials}) == 4
    assert all(len(t.epochs) == t.config.train.epochs for t in trials)


def test_a_search_under_the_least_limit_keeps_the_best_weights(
    sampled: subprocess.CompletedProcess[str], search_root: Path
) -> None:
    assert "Disk       about 13.0 MB" in sampled.stdout and "Warning" not in sampled.stderr
    folder = folder_of(search_root, "tpe")
    best = Ledger(folder / "ledger.jsonl").best()
    kept = {path.parent.name for path in folder.glob("checkpoints/*/final.pt")}
    assert best is not None and best.trial_id in kept and len(kept) < 4
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 64_000_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--grid", "lr", "--corpus", "none"), "--corpus none"),
        (("--grid", "lr", "--name", "lr", *SMALL), "--name lr"),
        (("--grid", "lr", "--name", "../x", *SMALL), "--name"),
        (("--grid", "lr", "--device", "cuda", *SMALL), "--device cuda"),
        (("--grid", "lr", "--preset", "full", *SMALL), "warmup_steps=500"),
        (("--resume", "never"), "never"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(
    undisturbed: subprocess.CompletedProcess[str],
    run_script: Run,
    search_root: Path,
    words: tuple[str, ...],
    named: str,
) -> None:
    before = sorted(search_root.rglob("*"))
    done = run_script("search/run.py", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(search_root.rglob("*")) == before


def test_a_dry_run_prints_the_cost_and_makes_nothing(run_script: Run, search_root: Path) -> None:
    before = sorted(search_root.rglob("*"))
    done = run_script("search/run.py", "--grid", "lr", "--dry-run", *SMALL)
    assert done.returncode == 0
    assert "Cost" in done.stdout and "nothing was downloaded or trained" in done.stdout
    assert sorted(search_root.rglob("*")) == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_says_how_to_go_on(
    command_of: Callable[..., list[str]], search_root: Path, sent: signal.Signals
) -> None:
    name = sent.name.lower()
    words = command_of("search/run.py", "--grid", "lr", "--name", name, *SMALL)
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(driver, lambda: any(folder_of(search_root, name).glob("checkpoints/*/trial.json")))
    driver.send_signal(sent)
    stdout, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert f"python search/run.py --resume {name}" in stdout
    assert "Traceback" not in stderr


def kill_after_first_record(words: list[str], folder: Path) -> None:
    """SIGKILL the driver alone as soon as the ledger has a record."""
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ledger = folder / "ledger.jsonl"
    wait_for(driver, lambda: ledger.exists() and ledger.read_bytes().count(b"\n") > 0)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()


def wait_for(driver: subprocess.Popen[Any], happened: Callable[[], bool]) -> None:
    """Wait until something happened, while the driver runs."""
    deadline = time.monotonic() + 120
    while not happened():
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_a_failed_trial_stops_no_other_and_is_tried_again_on_resume(
    undisturbed: subprocess.CompletedProcess[str], run_script: Run, search_root: Path
) -> None:
    folder = folder_of(search_root, "failing")
    experiment = read_experiment(folder_of(search_root, "lr")).replace(name="failing")
    experiment.write(folder)
    trial = grid_trials(experiment)[1]
    home = folder / "checkpoints" / trial.trial_id
    (home / "final.pt").mkdir(parents=True)  # in the way of its weights
    done = run_script("search/run.py", "--resume", "failing")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"Failed     {trial.label}: IsADirectoryError" in done.stdout
    assert str(home / "error.log") in done.stdout
    assert "Traceback" in (home / "error.log").read_text()
    assert "python search/run.py --resume failing" in done.stdout
    ledger = Ledger(folder / "ledger.jsonl")
    assert [t.trial_id for t in ledger.trials if t.status == FAILED] == [trial.trial_id]
    assert len(ledger.complete()) == 3
    (home / "final.pt").rmdir()
    again = run_script("search/run.py", "--resume", "failing")
    assert again.returncode == 0, again.stdout
    assert losses(folder) == losses(folder_of(search_root, "lr"))


def test_another_program_may_not_go_on_but_take_over(
    undisturbed: subprocess.CompletedProcess[str], run_script: Run, search_root: Path
) -> None:
    folder = folder_of(search_root, "older")
    began = read_experiment(folder_of(search_root, "lr"))
    code = began.provenance.code | {"model/training/loop.py": "0" * 16}
    began.replace(name="older", code=code).write(folder)
    lines = (folder_of(search_root, "lr") / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:4]))
    refused = run_script("search/run.py", "--resume", "older")
    assert refused.returncode == 2 and "changed code: model/training/loop.py" in refused.stderr
    words = ("--extend", "older", "--lr", "3e-4,5e-4,1e-3,2e-3,4e-3", "--name", "newer")
    done = run_script("search/run.py", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of its trials are taken over, made by other code" in done.stdout
    trials = Ledger(folder_of(search_root, "newer") / "ledger.jsonl").complete()
    assert [t.taken_from for t in trials] == ["older"] * 4 + [None]
    assert trials[-1].config.train.lr_peak == 4e-3
