"""The list of experiments: their states, and a damaged one as a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.files import is_locked
from minigpt_search.model.records import DIVERGED, FAILED
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.experiment import LOCK_FILE, only_driver
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.trial import grid_trials

RATES = ("--lr", "1e-3,2e-3,4e-3", "--preset", "quick")
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, make_trial_record: Callable[..., Any]) -> Make:
    """`make(name, *statuses)`: an experiment of three rates whose first trials ended so."""

    def make(name: str, *statuses: str, hours: float = 0) -> Path:
        args = make_parser().parse_args([*RATES, "--name", name])
        made = make_experiment(args, "cpu")
        began = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - hours * 3600))
        made = made.replace(created_at=began, content_hash="abc", manifest={"name": "builtin"})
        folder = tmp_path / "experiments" / name
        made.write(folder)
        ledger = Ledger(folder / "ledger.jsonl")
        for number, (trial, status) in enumerate(zip(grid_trials(made), statuses, strict=False)):
            record = make_trial_record(trial.trial_id, 7.0 - number, status, config=trial.config)
            ledger.append(record)
        return folder

    return make


def listed(run_here: Callable[..., Any], root: Path) -> str:
    ended = run_here("search/list_experiments.py", "--out", str(root))
    assert ended.status == 0, ended.err
    table = ended.out.partition("Damaged")[0].splitlines()[2:]
    assert max(map(len, table)) <= 100
    said: str = ended.out
    return said


def test_states_best_and_age_newest_first(
    run_here: Callable[..., Any], tmp_path: Path, make: Make
) -> None:
    done = ("complete",) * 3
    make("old-one", *done, hours=50)
    make("new", "complete", hours=1)
    make("bad", "complete", FAILED, hours=2)
    make("empty", hours=3)
    running = make("going", "complete", "complete", hours=0.5)
    with only_driver(running):
        assert is_locked(running / LOCK_FILE)
        rows = listed(run_here, tmp_path).splitlines()[4:]
    assert [row.split()[0] for row in rows] == ["going", "new", "bad", "empty", "old-one"]
    assert "running, 2 of 3" in rows[0] and "6.0000" in rows[0] and "lr=0.002" in rows[0]
    assert "unfinished, 1 of 3" in rows[1] and "1.00 h" in rows[1]
    assert "unfinished, 1 of 3, 1 failed" in rows[2]
    assert "unfinished, 0 of 3" in rows[3]
    assert "complete, 3 trials" in rows[4] and "5.0000" in rows[4] and "2.1 days" in rows[4]
    assert not is_locked(running / LOCK_FILE)


def test_a_lock_file_that_a_kill_left_is_not_a_running_search(tmp_path: Path, make: Make) -> None:
    lock = make("killed") / LOCK_FILE
    lock.touch()
    assert not is_locked(lock) and lock.exists()


def test_what_is_damaged_is_a_row_that_says_so(
    run_here: Callable[..., Any], tmp_path: Path, make: Make
) -> None:
    make("sound", "complete")
    (make("plan") / "experiment.json").write_text("{")
    with (make("lines", "complete") / "ledger.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    (tmp_path / "experiments" / "nothing").mkdir()
    (tmp_path / "experiments" / ".making").mkdir()
    (tmp_path / "experiments" / "a-file").touch()
    said = listed(run_here, tmp_path)
    assert "Damaged    plan: " in said and "experiment.json can't be read" in said
    assert "Damaged    lines: " in said and "line 2" in said
    assert "Damaged    nothing: " in said and "making" not in said and "a-file" not in said
    assert "sound" in said and "unfinished, 1 of 3" in said


def test_long_names_fit(run_here: Callable[..., Any], tmp_path: Path, make: Make) -> None:
    make("n" * 100, "complete", DIVERGED, FAILED)
    assert "n" * 20 in listed(run_here, tmp_path)


def test_an_empty_root_says_how_to_begin(run_here: Callable[..., Any], tmp_path: Path) -> None:
    ended = run_here("search/list_experiments.py", "--out", str(tmp_path / "none"))
    assert ended.status == 0 and f"run.py --grid lr --out {tmp_path / 'none'}" in ended.out
    assert not (tmp_path / "none").exists()
