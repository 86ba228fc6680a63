"""The flags of a ladder: one line for each mistake, and one real ladder of a few seconds."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--search", "tpe", "--trials", "4"], "--ladder goes without --search tpe"),
        (["--grid", "lr"], "--ladder goes without --grid lr"),
        (["--stop", "asha"], "--ladder goes without --stop asha"),
        (["--confirm", "2"], "--ladder goes without --confirm 2"),
        (["--max-cost", "1e9flop"], "--ladder goes without --max-cost 1e9flop"),
        (["--warm-start", "x"], "--ladder goes without --warm-start x"),
        (["--preset", "full"], "give --target full"),
        (["--budget", "9m"], "--rungs goes without --budget"),
        (["--rungs", "1600,800,3200"], "ascending"),
        (["--rungs", "800,1600"], "give 3 to 7 lengths"),
        (["--rungs", "a,b"], "whole numbers of tokens"),
        (["--rates", "8"], "--rates 8: give 3 to 7"),
        (["--rates", "many"], "--rates many: give 3 to 7"),
        (["--rungs", "800,1600,8000"], "no shorter than the target's 8,000"),
        (["--rungs", "8,16,32"], "have 1 steps, and under 100"),
        (["--lr", "1e-3,2e-3"], "--lr: --ladder varies tokens, widths and rates alone"),
        (["--space", "beta2=0.9,0.99"], "--space beta2: --ladder varies"),
        (["--tokens-per-epoch", "9000000"], "beyond which a run only repeats them"),
        (["--target", "full", "--epochs", "1", "--tokens-per-epoch", "7200"], "has 900 steps, of"),
        (["--space", "warmup_fraction=0.99999"], "warmup_fraction=0.99999: give at most 0.5"),
        (["--lr", "1"], "--lr 1: a ladder's rates lie from 7.81e-06 to 0.128"),
        (["--verify", "3207"], "in whole sequences of 8 tokens that is no more than the largest"),
    ],
)
def test_one_line_for_what_cannot_be(
    run_here: Callable[..., Any],
    ladder_words: tuple[str, ...],
    search_root: Path,
    words: list[str],
    named: str,
) -> None:
    ended = run_here("search/run.py", *ladder_words, *words, "--out", str(search_root))
    ended.refused(named)
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--space", "tokens_per_epoch=800,1600"],
        ["--grid", "tokens_per_epoch"],
        ["--grid", "lr", "--target", "full"],
        ["--grid", "lr", "--rungs", "1,2,3"],
        ["--grid", "lr", "--rates", "5"],
    ],
)
def test_without_a_ladder_its_own_flags_are_refused(
    run_here: Callable[..., Any], search_root: Path, words: list[str]
) -> None:
    run_here("search/run.py", *words, "--out", str(search_root)).refused("--ladder")


def test_an_extended_ladder_has_a_rung_more(
    run_here: Callable[..., Any],
    make_ladder: Callable[..., Experiment],
    climb: Callable[..., list[TrialRecord]],
    loss_of: Callable[..., Any],
    search_root: Path,
    leave_speeds: Callable[..., None],
) -> None:
    words = ("--rungs", "800,1600,2400", "--tokens-per-epoch", "9000")
    experiment = make_ladder("--name", "short", *words)
    assert experiment.ladder is not None  # of five rates and two seeds, as a budget may choose
    rates = dataclasses.replace(experiment.ladder, rates=5)
    experiment = experiment.replace(ladder=rates, seeds=2)
    folder = search_root / "experiments" / "short"
    experiment.write(folder)
    ledger = Ledger(folder / "ledger.jsonl")
    for record in climb(experiment, loss_of(best=6e-3)):
        ledger.append(record)
    leave_speeds(*experiment.command[1:])
    out = ("--out", str(search_root))
    more = run_here("search/run.py", "--extend", "short", "--dry-run", *out)
    assert more.status == 0, more.err
    assert "Rungs      800, 1,600, 2,400, 3,600 tokens" in more.out
    assert "with 1 epoch each and 5 rates of 2 seeds each a rung" in more.out
    assert f"Extends    short: {len(ledger.trials)} of its trials are taken over" in more.out
    fewer = run_here("search/run.py", "--extend", "short", "--rates", "3", "--dry-run", *out)
    assert "and 3 rates of 2 seeds each a rung" in fewer.out
    again = run_here("search/run.py", "--extend", "short", "--budget", "5m", *out)
    again.refused("nothing of short could be taken over")


@pytest.mark.slow
def test_a_ladder_is_climbed(
    run_script: Run, ladder_words: tuple[str, ...], search_root: Path
) -> None:
    words = [*ladder_words, "--rungs", "800,1000,1250", "--lr", "8e-3"]
    done = run_script("search/run.py", *words, "--name", "climbed")
    assert done.returncode == 0, done.stderr
    for title in ("Target ", "Rungs ", "Expected ", "Check ", "Use ", "Loss ", "Costs ", "Next "):
        assert f"\n{title}" in done.stdout
    folder = search_root / "experiments" / "climbed"
    experiment, ledger = read_experiment(folder), Ledger(folder / "ledger.jsonl")
    results = Results(experiment, ledger)
    assert results.missing_trials == 0 and results.ladder_prediction is not None
    lengths = [t.config.train.tokens_per_epoch for t in ledger.trials]
    assert lengths == sorted(lengths, key=lambda n: n or 0)

    assert len(ledger.predictions) == 1 and "\nPredicted  8,000 tokens: " in done.stdout

    again = run_script("search/run.py", "--resume", "climbed", "--verify", "1600")
    assert again.returncode == 0, again.stderr
    verified = Ledger(ledger.path)
    made, tested = verified.predictions
    assert (made.tokens, tested.tokens) == (8000, 1600)
    assert "\nOutcome    1,600 tokens came to lr=" in again.stdout
    rates = f"lr={tested.use_rate:g} and lr={tested.rival_rate:g}"
    assert f"\nVerify     {rates} on 1,600 tokens, each about " in again.stdout
    new = verified.trials[len(ledger.trials) :]
    assert {t.config.train.lr_peak for t in new} == {tested.use_rate, tested.rival_rate}
    assert all(t.ended_at >= tested.made_at for t in new)


def test_rungs_are_what_they_train(
    run_here: Callable[..., Any], ladder_words: tuple[str, ...], search_root: Path
) -> None:
    """Whole sequences of 8 tokens, so that 1,607 of them are 1,600."""
    words = ["--rungs", "807,1607,3200", "--dry-run", "--out", str(search_root)]
    ended = run_here("search/run.py", *ladder_words, *words)
    assert "800, 1,600, 3,200 tokens (whole sequences of 8 of what was asked for)" in " ".join(
        ended.out.split()
    )
