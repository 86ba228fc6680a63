"""What a running search shows: a line on terminals of all widths, and lines in a log."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import itertools
import os
import pickle
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tqdm import tqdm

from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver import screen
from minigpt_search.search.driver.progress import EPOCH_LINES, ProgressLine
from minigpt_search.search.driver.status_line import Status, log_line, terminal_line
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.trial import Trial, grid_trials, make_trial

MANY = Status(
    counted="123/1000 trials",
    share=0.123,
    left="12.3 min left",
    ends="ends Tue 18:20",
    best="confirmed 7.3412",
    best_of="lr=0.001 embed_dim=128 seq_len=64 dropout=0.1, 4 fresh seeds",
    speed="35.1 steps/s",
    running=(("lr=0.002 embed_dim=128 seq_len=64 dropout=0.1, fresh seed 3", "7.51"),) * 6,
)
FEW = dataclasses.replace(MANY, counted="3/12 trials", running=(("lr=0.002", "7.51"),))
STARTING = Status(counted="0/12 trials", share=0.0, speed="starting")


@pytest.mark.parametrize("columns", range(40, 201))
@pytest.mark.parametrize("status", [MANY, FEW, STARTING])
def test_a_line_fits_and_says_first_what_matters(status: Status, columns: int) -> None:
    for elapsed, ascii_only in itertools.product(("00:10", "12:10:10"), (False, True)):
        line = terminal_line(status, elapsed, columns, ascii_only)
        assert len(line) <= columns
        assert not ascii_only or line.isascii()
        assert line.startswith(status.counted)
        if status is STARTING:
            assert "starting" in line
        else:
            assert "12.3 min left" in line
        if columns >= 79 and status is not STARTING:  # the last column stays free
            assert re.search("12.3 min left(, ends Tue 18:20)?; confirmed 7.3412(; | \\()", line)
            assert line.endswith(" 7.51")
            assert status is MANY or "; lr=0.002 7.51" in line
            assert status is MANY or elapsed != "00:10" or "| 00:10, " in line


def test_a_log_has_all_of_it() -> None:
    assert log_line(FEW, "00:10") == (
        "3/12 trials, 12%, 00:10: 12.3 min left, ends Tue 18:20; confirmed 7.3412 (lr=0.001 "
        "embed_dim=128 seq_len=64 dropout=0.1, 4 fresh seeds); 35.1 steps/s; lr=0.002 7.51"
    )


class Terminal:
    """A pseudo terminal that is standard error."""

    def __init__(self, columns: int) -> None:
        self.reader, writer = os.openpty()
        self.stream = open(writer, "w", buffering=1)  # noqa: SIM115 - closed by `close`
        self.resize(columns)

    def resize(self, columns: int) -> None:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.stream, termios.TIOCSWINSZ, size)

    def read(self, seconds: float) -> str:
        """What is written within so many seconds."""
        shown, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.reader], [], [], left)[0]:
                shown += os.read(self.reader, 1 << 16)
        return shown.decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self.reader)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """One of 80 columns."""
    made = Terminal(80)
    yield made
    made.close()


def begin_log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A file that is standard error from now on; a fixture's would be until the test begins."""
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    return log


def plan(*words: str) -> Experiment:
    return make_experiment(make_parser().parse_args(["--grid", "lr", *words]), "cpu")


def progress_of(experiment: Experiment, folder: Path) -> tuple[ProgressLine, list[Trial]]:
    trials, ledger = grid_trials(experiment), Ledger(folder / "ledger.jsonl")
    return ProgressLine(experiment, ledger, {}, len(trials), {}, Clock(folder, 0.0)), trials


def tell(progress: ProgressLine, trial: Trial, kind: str, **fields: Any) -> None:
    """One report of a worker's."""
    ran = SimpleNamespace(config={"pack": [{"values": trial.values, "replicate": trial.replicate}]})
    result = {"kind": kind, "member": trial.trial_id, "train_loss_nats": 8.1234, **fields}
    progress.on_trial_result(0, [], ran, result)


def test_on_a_terminal_the_clock_moves_and_lines_stay_whole(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    progress, trials = progress_of(plan(), tmp_path)
    for step in (1, 2):
        tell(progress, trials[0], "progress", step=step, total_steps=9)
    tqdm.write("a line of somebody else", file=sys.stderr)
    shown = terminal.read(3.3)
    drawn = [line.rstrip() for line in re.split(r"[\r\n]+", shown) if "trials" in line]
    assert {"00:01", "00:02", "00:03"} <= {re.findall(r"\| (\d\d:\d\d)", d)[0] for d in drawn}
    assert re.fullmatch(r"0/4 trials +6%\|.+\| 00:03, .+ left; .+; lr=\S+ 8.12", drawn[-1]) or (
        re.fullmatch(r"0/4 trials +6%\|.+\| 00:03, .+; lr=\S+ 8.12", drawn[-1])
    )
    assert "a line of somebody else" in re.split(r"[\r\n]+", shown)
    terminal.resize(50)
    narrow = terminal.read(1.5).split("\r")[-1]
    assert len(narrow.rstrip()) < 50 and narrow.startswith("0/4 trials")
    progress.close()
    assert terminal.read(0.1).endswith("\r\n")


def test_a_log_has_a_line_each_minute_and_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = begin_log(monkeypatch)
    monkeypatch.setattr(screen, "LOG_SECONDS", 0.3)
    monkeypatch.setattr(screen, "TICK_SECONDS", 0.1)
    progress, trials = progress_of(plan("--epochs", "3"), tmp_path)
    tell(progress, trials[0], "progress", step=1, total_steps=9)
    for epoch in (1, 2, 3):
        tell(progress, trials[0], "epoch", epoch=epoch, val_loss_nats=7.5)
    tell(progress, trials[0], "progress", step=2, total_steps=9)
    time.sleep(1.05)
    progress.close()
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    each_minute = [line for line in lines if re.match(r"  0/4 trials, \d%, 00:0", line)]
    assert len(each_minute) + 2 == len(lines) and 3 <= len(each_minute) <= 5
    assert " left, ends " in each_minute[-1]  # told from the first step on
    assert [line for line in lines if "epoch" in line] == [
        f"  lr=0.0003: epoch {n} of 3, validation loss 7.5000 nats, training loss 8.1234"
        for n in (1, 2)
    ]


def test_a_log_has_twenty_lines_of_a_trials_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = begin_log(monkeypatch)
    progress, trials = progress_of(plan("--epochs", "333"), tmp_path)
    for epoch in range(1, 334):
        tell(progress, trials[0], "epoch", epoch=epoch, val_loss_nats=7.5)
    progress.close()
    assert EPOCH_LINES - 2 <= log.getvalue().count("epoch ") <= EPOCH_LINES


def test_while_confirming_the_number_is_that_of_the_fresh_seeds(
    tmp_path: Path,
    make_trial_record: Callable[..., TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = begin_log(monkeypatch)
    experiment = plan("--confirm", "2", "--confirm-seeds", "4")
    progress, trials = progress_of(experiment, tmp_path)

    def end(trial: Trial, loss: float) -> None:
        record = make_trial_record(trial.trial_id, loss)
        record = dataclasses.replace(record, config=trial.config, replicate=trial.replicate)
        progress.ledger.append(record)
        progress._end(SimpleNamespace(config={"pack": [vars_of(trial)]}))

    def vars_of(trial: Trial) -> dict[str, Any]:
        return {"values": trial.values, "replicate": trial.replicate}

    for trial, loss in zip(trials, (7.0, 7.1, 8.0, 9.0), strict=True):
        end(trial, loss)
    assert progress._best() == ("best 7.0000", "lr=0.0003")
    end(make_trial(experiment, trials[0].values, 3), 6.5)  # one lucky fresh seed is no best
    assert progress._best() == ("best 7.0000", "lr=0.0003")
    progress.close()
    progress, _ = progress_of(experiment, tmp_path)  # nor when the search is resumed
    assert progress._best() == ("best 7.0000", "lr=0.0003")
    (tmp_path / "two").mkdir()
    progress.close()
    progress, _ = progress_of(experiment, tmp_path / "two")
    for trial, loss in zip(trials, (7.0, 7.1, 8.0, 9.0), strict=True):
        end(trial, loss)
    for trial, loss in zip(trials[:2], (7.3, 7.2), strict=True):
        for replicate in (1, 2):
            end(make_trial(experiment, trial.values, replicate), loss + replicate / 100)
    assert progress._best() == ("confirmed 7.2150", "lr=0.0005, 2 fresh seeds")
    winner = Results(experiment, progress.ledger).winner
    assert winner is not None and f"{winner.estimate.mean:.4f}" == "7.2150"
    assert "  lr=0.0005, fresh seed 2: validation loss 7.2200 nats" in log.getvalue()
    progress.close()


def test_a_later_round_goes_on_with_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, experiment = begin_log(monkeypatch), plan()
    ledger, clock = Ledger(tmp_path / "ledger.jsonl"), Clock(tmp_path, 0.0)
    began = time.monotonic() - 754.5
    ProgressLine(experiment, ledger, {}, 4, {}, clock, began).close()
    assert "0/4 trials, 0%, 12:34: " in log.getvalue()


def test_tune_can_pickle_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_log(monkeypatch)
    progress, _ = progress_of(plan(), tmp_path)
    pickle.dumps(progress)
    progress.close()
