"""What `--resume` may change, what it refuses, and the command that is then on record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.failed_trials import say_what_failed
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.cli.resume_flags import changes_of, keep_changes
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import Node, this_node
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import OUT_OF_MEMORY
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker.trial_record import make_record

GRID = ("--grid", "lr", "--max-concurrent", "1", "--cpus-per-trial", "1", "--name", "x")

THREE = ("--lr", "1e-3", "--embed-dim", "8", "--epochs", "1,3")
"""A space of three configurations."""


def plan(monkeypatch: pytest.MonkeyPatch, *words: str) -> Experiment:
    monkeypatch.setattr(sys, "argv", ["search/run.py", *words])
    return make_experiment(make_parser().parse_args(words), "cpu").replace(predicted_seconds=9.0)


def changes(experiment: Experiment, *words: str, cores: int = 4) -> dict[str, Any]:
    here = this_node()
    node = Node(
        cpus=cores, gpus=0, hardware=here.hardware, device="cpu", precisions=here.precisions
    )
    args = make_parser().parse_args(["--resume", "x", *words])
    check_options(args)
    return changes_of(args, experiment, LocalMachines([node]))


def test_threads_stay_unless_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = plan(monkeypatch, *GRID)
    assert changes(grid) == {} == changes(grid, "--max-concurrent", "1", "--checkpoint-every", "45")
    assert changes(grid, "--max-concurrent", "3") == {
        "max_concurrent": 3,
        "predicted_seconds": None,
    }
    assert changes(grid, "--checkpoint-every", "5") == {"checkpoint_every_seconds": 5}
    free = grid.replace(is_capped=False, max_concurrent=4)
    fewer = changes(free, "--cpus-per-trial", "2")
    assert (fewer["threads_per_trial"], fewer["max_concurrent"]) == (2, 2)


@pytest.mark.parametrize(
    ("begun", "words", "said"),
    [
        (GRID, ("--trials", "9"), "is a grid, which tries all its cells; add values with --extend"),
        (("--search", "tpe", "--budget", "5m"), ("--trials", "9"), "the budget of .* decides"),
        (
            (
                "--search",
                "tpe",
                "--trials",
                "2",
                "--lr",
                "1e-3",
                "--embed-dim",
                "8",
                "--epochs",
                "1,3",
            ),
            ("--trials", "9"),
            "there are only 3 configurations",
        ),
        (GRID, ("--cpus-per-trial", "9"), "1 at a time with 9 threads each find no room here"),
        (GRID, ("--max-concurrent", "5"), "there is room for 4"),
        (GRID, ("--trials-per-gpu", "2"), "train on the CPU"),
        (GRID, ("--max-disk", "1MB"), "--max-disk 1.0 MB: the best weights"),
        (GRID, ("--pack", "2"), "leave out --pack"),
        (GRID, ("--seeds", "2"), "leave out --seeds"),
    ],
)
def test_what_cant_change_is_refused(
    monkeypatch: pytest.MonkeyPatch, begun: tuple[str, ...], words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        changes(plan(monkeypatch, *begun), *words)


def test_the_command_on_record_has_the_new_values_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = plan(monkeypatch, *GRID[:2], "--max-concurrent=1", "--cpus-per-trial", "1", "--name=x")
    grid.write(tmp_path / "x")
    made = changes(grid, "--max-concurrent", "2", "--max-disk", "2GB", "--cpus-per-trial", "2")
    keep_changes(made, tmp_path / "x", Ledger(tmp_path / "ledger.jsonl"))
    after = read_experiment(tmp_path / "x")
    assert after == grid.replace(**made).replace(command=after.command)
    args = make_parser().parse_args(after.command[1:])
    assert (args.max_concurrent, args.cpus_per_trial, args.max_disk) == (2, 2, "2000000KB")
    assert (
        after.command.count("--max-concurrent") == 1 and "--max-concurrent=1" not in after.command
    )
    assert "Changed    2 threads a trial (1 before), 2 at a time" in capsys.readouterr().out


def test_what_failed_for_lack_of_memory_names_the_flags_that_may_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, ledger = plan(monkeypatch, *GRID), Ledger(tmp_path / "ledger.jsonl")
    ledger.append(make_record(grid_trials(grid)[0], f"{OUT_OF_MEMORY}: killed", 1, "cpu"))
    assert say_what_failed(grid, tmp_path, ledger, "AGAIN") == 1
    assert "AGAIN --max-concurrent 1 has one at a time" in capsys.readouterr().out
