"""A logger's library that works, raises, hangs, crashes or isn't there: never more than a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.search.loggers import logger_process
from minigpt_search.search.loggers.logger_process import LoggerProcess

FakeLibrary = Callable[[str, str], None]
_TRIAL = {"trial_id": "ab", "name": "lr=1", "config": {"lr_peak": 1.0}, "tags": {"preset": "quick"}}
_WORKS = """
import json, os, sys

class Run:
    tags = ()
    summary = {}
    def define_metric(self, *words, **more): pass
    def log(self, values): print("logged", json.dumps(values))
    def finish(self, exit_code=0): print("finished", exit_code, self.tags, self.summary)

def init(**given):
    print("begun", given["name"], given["group"])
    return Run()

def Settings(**given): return None

print("input", repr(sys.stdin.read()))
"""


def messages(folder: Path) -> list[dict[str, Any]]:
    return [
        {"experiment": "lr", "created_at": "now", "folder": str(folder)},
        {"do": "begin", "trial": _TRIAL},
        {"do": "log", "trial_id": "ab", "step": 5, "values": {"train/loss_nats": 1.5}},
        {
            "do": "end",
            "trial_id": "ab",
            "ended_at": "then",
            "status": "complete",
            "values": {"steps": 5},
        },
    ]


def send_all(folder: Path, seconds: float) -> LoggerProcess:
    process = LoggerProcess("wandb", folder)
    process.start()
    for message in messages(folder):
        process.send(message)
    process.hang_up()
    process.close(time.monotonic() + seconds)
    return process


def test_a_library_gets_what_is_sent_and_prints_into_its_log(
    fake_library: FakeLibrary, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_library("wandb", _WORKS)
    process = send_all(tmp_path, 20)
    assert process.lost is None
    assert (tmp_path / "loggers" / "wandb.txt").read_text() == "ab then\n"
    said = (tmp_path / "loggers" / "wandb.log").read_text()
    assert "input ''" in said  # no message is taken for an answer to a question of the library
    assert "begun lr=1 lr" in said
    assert 'logged {"step": 5, "train/loss_nats": 1.5}' in said
    assert "finished 0 ('status:complete',) {'status': 'complete', 'steps': 5}" in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def init(**given): raise OSError(28, 'No space left on device')", "No space left"),
        ("raise ConnectionError('no route to host')", "ConnectionError: no route to host"),
        ("import sys; sys.exit('log in first')", "SystemExit: log in first"),
        ("import os; os.abort()", "ended with status -6"),
        ("1 +", "SyntaxError"),
    ],
)
def test_a_library_that_fails_is_said_once_and_nothing_else(
    fake_library: FakeLibrary,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    code: str,
    reason: str,
) -> None:
    fake_library("wandb", f"Settings = lambda **given: None\n{code}\n")
    process = send_all(tmp_path, 20)
    process.send({"do": "log"})
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "wandb takes nothing more" in err and reason in err
    assert not (tmp_path / "loggers" / "wandb.txt").exists()
    assert reason in (tmp_path / "loggers" / "wandb.log").read_text()


def test_a_library_that_hangs_is_never_waited_for(
    fake_library: FakeLibrary,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logger_process, "MOST_BYTES", 100_000)
    fake_library("wandb", "import time; time.sleep(1000)\n")
    process = LoggerProcess("wandb", tmp_path)
    process.start()
    first, *rest = messages(tmp_path)
    process.send(first)
    began = time.monotonic()
    for _ in range(5000):
        process.send(rest[1])
    assert time.monotonic() - began < 1.0
    assert process.dropped > 1000
    process.hang_up()
    began = time.monotonic()
    process.close(began + 0.5)
    assert time.monotonic() - began < 2.0
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2 and "messages are left out" in err[0] and "did not end" in err[1]


def test_a_folder_that_can_t_be_written_to_costs_the_log_alone(
    fake_library: FakeLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_library("wandb", _WORKS)
    (tmp_path / "loggers").touch()  # where its folder should be
    process = send_all(tmp_path, 20)
    assert process.lost is not None and "NotADirectoryError" in process.lost
    assert capsys.readouterr().err.count("\n") == 1
