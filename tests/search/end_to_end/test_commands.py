"""The real commands on a small corpus: search, report, rerun, export, take over."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest

from minigpt_search.model.model_card import read_facts
from minigpt_search.model.records import COMPLETE
from minigpt_search.search import run as run_module
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.trial import grid_trials

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--corpus", "small", "--embed-dim", "16", "--tokens-per-epoch", "4096")
"""Flags of a search whose trials take about half a second."""
ONE_AT_A_TIME = ("--max-concurrent", "1", "--cpus-per-trial", "1")


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
    assert "no GPU" in out
    assert str(folder / "ledger.jsonl") in out
    assert "search/rerun.py lr" in out
    best = ledger.best()
    assert best is not None and f"{best.final.val_loss_nats:.4f}" in out


def test_no_word_of_rays_is_on_the_screen(
    undisturbed: subprocess.CompletedProcess[str],
) -> None:
    screen = undisturbed.stdout + undisturbed.stderr
    assert not re.search(r"\bray\b|raylet|WARNING|Traceback|trial_id", screen, re.IGNORECASE)
    assert len(re.split(r"[\r\n]+", undisturbed.stderr)) < 60


def test_without_a_terminal_the_screen_is_a_log(
    undisturbed: subprocess.CompletedProcess[str],
) -> None:
    assert "\r" not in undisturbed.stderr and "%|" not in undisturbed.stderr
    assert "  0/4 trials, 0%, 00:00: starting\n" in undisturbed.stderr
    assert undisturbed.stderr.count(": validation loss ") == 4


@pytest.mark.slow  # `samplers/test_study_db.py` kills it anywhere
def test_a_killed_search_has_a_study_of_what_had_ended(end_when: Run, search_root: Path) -> None:
    folder = folder_of(search_root, "killed")
    words = ("--grid", "lr", "--epochs", "8", "--name", "killed", *SMALL)

    def holds_a_trial() -> bool:
        with suppress(sqlite3.Error), closing(sqlite3.connect(folder / "study.db")) as study:
            return study.execute("SELECT COUNT(*) FROM trials").fetchone() > (0,)
        return False

    end_when(lambda: (folder / "study.db").exists() and holds_a_trial(), *words, *ONE_AT_A_TIME)
    study = optuna.load_study(study_name="killed", storage=f"sqlite:///{folder / 'study.db'}")
    ended = [record.trial_id for record in Ledger(folder / "ledger.jsonl").trials]
    in_study = [trial.user_attrs["trial_id"] for trial in study.trials]
    assert in_study and in_study == ended[: len(in_study)]


def test_nothing_of_rays_is_left_and_events_and_study_are_there(
    undisturbed: subprocess.CompletedProcess[str], search_root: Path
) -> None:
    folder = folder_of(search_root, "lr")
    assert not (folder / "ray").exists()
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("step_*.pt"))
    events = [path.read_bytes() for path in folder.glob("tensorboard/*/events*")]
    assert len(events) == 4
    for tag in (b"train/loss_nats", b"train/grad_norm", b"val/loss_nats", b"_hparams_/"):
        assert all(tag in content for content in events)
    assert not (folder / "live").exists()
    for record in Ledger(folder / "ledger.jsonl").trials:
        assert record.curve is not None and record.curve.steps[-1] == record.steps
    study = optuna.load_study(study_name="lr", storage=f"sqlite:///{folder / 'study.db'}")
    best = Ledger(folder / "ledger.jsonl").best()
    assert best is not None and study.best_value == best.final.val_loss_nats
    assert study.best_params == {"lr": best.config.train.lr_peak}


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.slow
@pytest.mark.parametrize("cut", [False, True])
def test_packs_leave_the_same_trials_and_curves_also_when_they_were_ended(
    run_script: Run, end_when: Run, search_root: Path, cut: bool
) -> None:
    name = "cut" if cut else "packed"
    folder = folder_of(search_root, name)
    words = ("--grid", "lr", "--pack", "2", "--name", name, *SMALL, *ONE_AT_A_TIME)
    if cut:  # while the second pack trains
        begun = folder / "ledger.jsonl"
        first_is_over = lambda: begun.exists() and bool(Ledger(begun).trials)  # noqa: E731
        ended = end_when(first_is_over, *words, sent=signal.SIGTERM)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr
        assert f"search/run.py --resume {name}" in ended.stdout
        assert len(Ledger(folder / "ledger.jsonl").trials) < 4
        words = ("--resume", name)
    done = run_script("search/run.py", *words)
    assert done.returncode == 0, done.stderr
    assert read_experiment(folder).machine.pack == 2
    assert {trial.pack for trial in Ledger(folder / "ledger.jsonl").trials} == {2}
    packed, alone = losses(folder), losses(folder_of(search_root, "lr"))
    assert packed.keys() == alone.keys()
    for name, expected in alone.items():  # rounding; bf16 where the processor has it
        assert packed[name] == pytest.approx(expected, rel=1e-3)


@pytest.mark.usefixtures("undisturbed")
def test_the_rerun_has_the_same_bits_and_its_export_is_named(
    run_script: Run, run_here: Callable[..., Any], search_root: Path
) -> None:
    rerun = run_script("search/rerun.py", "lr")
    assert rerun.returncode == 0, rerun.stderr
    assert "the same bits, on the same machine" in rerun.stdout
    phases = [line for line in rerun.stderr.splitlines() if not line.startswith("epoch ")]
    assert phases == ["verifying the corpus", "training", "scoring the test split", "sampling"]
    folder = folder_of(search_root, "lr")
    [record] = Ledger(folder / "ledger.jsonl").reruns
    assert record.same_bits and record.val_loss_nats == record.ledger_val_loss_nats
    assert (folder / record.checkpoint.path).is_file()
    assert "model/export.py" in rerun.stdout
    facts = read_facts(folder / record.checkpoint.path)
    assert facts is not None and facts.test.nats == record.test_loss_nats
    assert " ".join(facts.sample.split()) in rerun.stdout
    report = run_here("reports/generate.py", "lr", "--out", str(search_root))
    assert report.status == 0, report.err
    assert (folder / "report" / "report.html").is_file()


@pytest.mark.usefixtures("undisturbed", "threads")
def test_another_trial_than_the_best_is_rerun_by_its_id(
    run_here: Callable[..., Any], search_root: Path
) -> None:
    folder = folder_of(search_root, "lr")
    ledger = Ledger(folder / "ledger.jsonl")
    worst = max(ledger.complete(), key=lambda trial: trial.final.val_loss_nats)
    words = ("search/rerun.py", "lr", "--out", str(search_root), "--trial")
    rerun = run_here(*words, worst.trial_id)
    assert rerun.status == 0, rerun.err
    assert Ledger(ledger.path).reruns[-1].trial_id == worst.trial_id
    run_here(*words, "abc").refused("--trial abc")


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
@pytest.mark.usefixtures("undisturbed")
def test_a_mistake_is_one_line_and_nothing_is_made(
    run_here: Callable[..., Any], search_root: Path, words: tuple[str, ...], named: str
) -> None:
    before = sorted(search_root.rglob("*"))
    done = run_here("search/run.py", *words, "--out", str(search_root))
    done.refused(named)
    assert done.err.startswith("error: ") and len(done.err.splitlines()) == 1
    assert sorted(search_root.rglob("*")) == before


@pytest.mark.usefixtures("undisturbed")  # whose speeds are known: nothing is measured
def test_a_dry_run_prints_the_cost_and_makes_nothing(
    run_here: Callable[..., Any], search_root: Path
) -> None:
    before = sorted(search_root.rglob("*"))
    words = ("--grid", "lr", "--dry-run", *SMALL)
    done = run_here("search/run.py", *words, "--out", str(search_root))
    assert done.status == 0
    assert "Cost" in done.out and "nothing was downloaded or trained" in done.out
    assert sorted(search_root.rglob("*")) == before


@pytest.fixture(scope="module")
def newer(undisturbed: Any, run_here: Callable[..., Any], search_root: Path) -> Path:
    """The folder of `newer`: it has taken over the trials of `lr`, made by other code as `older`,
    and has yet to train the fifth."""
    folder, began = folder_of(search_root, "older"), read_experiment(folder_of(search_root, "lr"))
    code = began.provenance.code | {"model/training/loop.py": "0" * 16}
    began.replace(name="older", code=code).write(folder)
    lines = (folder_of(search_root, "lr") / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:5]))
    words = ("search/run.py", "--out", str(search_root))
    run_here(*words, "--resume", "older").refused("changed code: model/training/loop.py")
    more = ("--extend", "older", "--lr", "3e-4,5e-4,1e-3,2e-3,4e-3", "--name", "newer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_search", lambda *_: None)  # nothing is trained
        done = run_here(*words, *more)
    assert done.status == 1 and "1 trial failed or is missing" in done.out, done.err
    assert "4 of its trials are taken over, made by other code" in done.out
    assert ": as in older\n" in done.out and "as asked" not in done.out
    return folder_of(search_root, "newer")


def test_another_program_may_not_go_on_but_take_over(newer: Path) -> None:
    trials = Ledger(newer / "ledger.jsonl").complete()
    assert [t.taken_from for t in trials[:4]] == ["older"] * 4


@pytest.mark.slow  # as any resumed search
def test_what_is_missing_after_that_is_trained(newer: Path, run_script: Run) -> None:
    done = run_script("search/run.py", "--resume", "newer")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = Ledger(newer / "ledger.jsonl").complete()
    assert [t.taken_from for t in trials] == ["older"] * 4 + [None]
    assert trials[-1].config.train.lr_peak == 4e-3
