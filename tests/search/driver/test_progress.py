"""The line of a running search, on terminals of several widths and in a file."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver.progress import ProgressLine
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.trial import grid_trials

NOW = ["lr=0.0003 8.12", "lr=0.0005 8.57", "lr=0.001 9.01"]
TIME_OR_SPEED = re.compile(r"[\d.]+ (s|min) left, ends \d\d:\d\d|[\d.]+ steps/s")


def draw(folder: Path) -> None:
    """The line after two reports of three trials."""
    experiment = make_experiment(make_parser().parse_args(["--grid", "lr"]), "cpu")
    trials = grid_trials(experiment)
    ledger, clock = Ledger(folder / "ledger.jsonl"), Clock(folder, 0.0)
    progress = ProgressLine(experiment, ledger, {}, len(trials), {}, clock)
    for step in (1, 2):
        for trial, loss in zip(trials, (8.1234, 8.5678, 9.0123), strict=False):
            ran = SimpleNamespace(config={"pack": [{"values": trial.values, "replicate": 0}]})
            result = {"kind": "progress", "member": trial.trial_id, "step": step}
            result |= {"total_steps": 9, "train_loss_nats": loss}
            progress.on_trial_result(0, [], ran, result)
    progress.bar.refresh()
    progress.close()


@pytest.mark.parametrize("columns", [50, 60, 70, 80, 90, 100, 120, 160])
def test_on_a_terminal_it_fits_and_ends_with_a_whole_number(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(reader, "rb", buffering=0) as screen, open(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        draw(tmp_path)
        print("!", file=terminal, flush=True)
        shown = ""
        while "!" not in shown:  # a terminal hands on what it has so far
            shown += screen.read(1 << 16).decode()
        line = shown.partition("!")[0].rstrip().rpartition("\r")[2].rstrip()
    assert len(line) < columns
    assert line.startswith("0/4 trials  17%|")
    words = line.partition(", ")[2].split("; ") if ", " in line else []
    losses = [word for word in words if not TIME_OR_SPEED.fullmatch(word)]
    assert losses == NOW[: len(losses)]
    assert len(words) >= (columns >= 70) + (columns >= 90) + (columns >= 120)


def test_a_file_has_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO())
    draw(tmp_path)
    assert file.getvalue().rstrip().endswith("steps/s; " + "; ".join(NOW))
