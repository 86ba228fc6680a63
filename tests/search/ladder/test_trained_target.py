"""A target that was trained: its best among rungs of lower losses, and a ledger that has lost the
prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.reports.page.ladder_section import ladder_section
from minigpt_search.reports.page.trial_tables import finished_trials
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.ladder_outcome import (
    at_target,
    keep_predictions,
    outcome_texts,
    outcomes,
)
from minigpt_search.search.answer.print_results import print_results
from minigpt_search.search.answer.text_table import trials_table
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.trial import make_trial


@pytest.mark.parametrize("worse", [0.0, 3.0])
def test_the_best_of_a_trained_target_is_the_target_s(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    loss_of: Callable[..., Any],
    record_of: Callable[..., TrialRecord],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    worse: float,
) -> None:
    """Also where a rung's loss is lower; `rerun.py`, the page and a limit of the disk take it."""
    experiment, ledger = climbed("--verify", "--seeds", "2", "--name", "trained")
    keep_predictions(experiment, ledger)
    loss = loss_of(slope=-0.3, sd=0.01, steep=0.2, best=4e-3)
    lowest_rung = min(ledger.complete(), key=lambda t: t.final.val_loss_nats)
    for each in ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due:
        trial = make_trial(experiment, *each)
        ledger.append(record_of(trial, loss(trial) + worse))
    results = Results(experiment, ledger)
    came = at_target(results)
    assert came is not None and len(came.losses) == 2
    rates = [t for t in ledger.complete() if t.config.train.tokens_per_epoch == 8000]
    mine = [t for t in rates if t.config.train.lr_peak == came.best]
    of_both = max(mine, key=lambda t: t.final.val_loss_nats)  # of an even number the higher
    table = trials_table(results)
    [row] = [row for row, notes in enumerate(table["notes"]) if notes.startswith("best")]
    assert table["val_loss_nats"][row] == of_both.final.val_loss_nats
    assert table["notes"][row] == "best by the mean of its seeds"
    assert finished_trials(results).marked_row == row
    command = "python search/rerun.py trained"
    assert results.winning_trial is of_both
    if worse:
        assert lowest_rung.final.val_loss_nats < of_both.final.val_loss_nats
    keep = next(step for step in answer(results).steps if "rerun" in step.command)
    assert keep.command == command
    print_results(experiment, tmp_path, ledger)
    assert f"\nRerun      {command} --out {tmp_path}\n" in capsys.readouterr().out


def test_runs_of_the_target_without_a_prediction_test_nothing_and_are_said(
    climbed: Callable[..., tuple[Experiment, Ledger]],
    loss_of: Callable[..., Any],
    record_of: Callable[..., TrialRecord],
) -> None:
    experiment, ledger = climbed("--verify")
    loss = loss_of(slope=-0.3, sd=0.01, steep=0.2, best=4e-3)
    (made,) = keep_predictions(experiment, ledger)
    for each in ladder_state(experiment, ledger.trials, ledger.ended(), ledger.predictions).due:
        ledger.append(record_of(trial := make_trial(experiment, *each), loss(trial)))
    tested = Results(experiment, ledger)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    [number] = [n for n, line in enumerate(lines) if b'"record":"prediction"' in line]
    ledger.path.write_bytes(b"".join([*lines[:number], *lines[number + 1 :]]))
    left = Ledger(ledger.path)
    assert left.predictions == [] and keep_predictions(experiment, left) == []
    results = Results(experiment, left)
    assert results.missing_trials == 0 and outcomes(results) == []
    none = "no prediction from before such runs is in the ledger, so nothing is tested"
    use, before = answer(results).use, answer(tested).use
    assert use.startswith(before[: before.index(" it was predicted from")] + f"; {none}; from the")
    assert f"from the present rungs ({made.rung_trials} trials), after runs of that length" in use
    assert f"nats at lr={made.use_rate:g}, one seed; {none}; from the" in answer(results).loss
    assert answer(results).steps == answer(tested).steps
    [line] = outcome_texts(results)
    assert line.startswith("8,000 tokens came to lr=") and line.endswith(f" nats; {none}")
    assert line.split(" nats; ")[0] == outcome_texts(tested)[0].split(" nats; ")[0]
    assert ladder_section(results).paragraphs[-1] == f"Outcome: {line}."


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("prediction", "a ladder's prediction is missing, and --resume makes it again only where"),
        ("trial", "its trial counts as not run, and --resume trains it again"),
        ("no kind", "its record counts as missing: if it was a trial's, --resume trains that"),
    ],
)
def test_what_a_damaged_record_was_is_said(
    climbed: Callable[..., tuple[Experiment, Ledger]], kind: str, said: str
) -> None:
    experiment, ledger = climbed()
    keep_predictions(experiment, ledger)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    number = 0 if kind == "trial" else len(lines) - 1
    lines[number] = lines[number].replace(b'4,"record"', b'3,"record"')
    if kind == "no kind":
        lines[number] = lines[number].replace(b'"prediction"', b'"pred\xfftion"')
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=f"line {number + 1} is damaged .*; then {said}"):
        Ledger(ledger.path)
    [damage] = Ledger(ledger.path, skip_damaged=True).damaged
    assert f"line {number + 1} is damaged" in damage and f": passed over, {said}" in damage
