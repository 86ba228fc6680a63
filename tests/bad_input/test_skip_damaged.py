"""`--skip-damaged`: the line is named and passed over, its trial counts as not run, nothing is
lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minigpt_search.search import run
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver.recorder import collect_outcomes
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import trial_folder, write_outcome


@pytest.fixture
def damaged(home: Path) -> TrialRecord:
    """The record on line 2 of `done`, of which a bit in a number is flipped."""
    path = home / "experiments" / "done" / "ledger.jsonl"
    record = Ledger(path).trials[1]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"val_loss_nats":7.125', b'"val_loss_nats":7.115')
    path.write_bytes(b"".join(lines))
    return record


def test_a_report_without_it(attempt: Any, damaged: TrialRecord) -> None:
    attempt("reports/generate.py", "done").refused("line 2 is damaged (its checksum is not")
    ended = attempt("reports/generate.py", "done", "--skip-damaged")
    assert ended.status == 0
    [warning] = [line for line in ended.out.splitlines() if line.startswith("Warning")]
    assert "ledger.jsonl, line 2 is damaged" in warning
    assert "7.1250" not in ended.out and "7.1150" not in ended.out
    assert "7.0000" in ended.out and "7.2500" in ended.out and "7.3750" in ended.out


def test_a_resume_has_it_to_run(
    attempt: Any,
    home: Path,
    damaged: TrialRecord,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing: set[str] = set()

    def note(experiment: Any, folder: Path, ledger: Ledger, *rest: Any) -> str:
        missing.update({damaged.trial_id} - ledger.ended())
        return "Interrupted"

    monkeypatch.setattr(run, "_search", note)
    args = make_parser().parse_args(["--resume", "done", "--skip-damaged"])
    assert run.resume(home, "done", args) == 1
    assert missing == {damaged.trial_id}
    printed = capsys.readouterr().out
    assert printed.count("line 2 is damaged") == 1
    assert "--resume done --skip-damaged" in printed


def test_its_outcome_is_collected_and_every_other_byte_stays(
    home: Path, damaged: TrialRecord
) -> None:
    folder = home / "experiments" / "done"
    path = folder / "ledger.jsonl"
    before = path.read_bytes()
    trial_folder(folder, damaged.trial_id).mkdir(parents=True)
    write_outcome(trial_folder(folder, damaged.trial_id), damaged)
    ledger = Ledger(path, skip_damaged=True)
    assert len(ledger.trials) == 3
    collect_outcomes(folder, ledger)
    assert path.read_bytes().startswith(before)
    again = Ledger(path, skip_damaged=True)
    assert len(again.trials) == 4 and damaged in again.trials
