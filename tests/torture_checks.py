"""What `tests/torture.py` looks at after each fault and each round. Raises AssertionError."""

from __future__ import annotations

import sqlite3
import zipfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import psutil

from minigpt_search.data.ray.own_ray import scratches_of
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.machines.local_ray import MARK
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import decode
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import Start, read_outcome, read_started

Losses = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What must not be lost: taken when a driver has ended or a process was killed."""

    ledger: bytes
    """Its whole lines."""
    ended: dict[str, int]
    """Trials that have an outcome, and how often they had been started."""
    saved: dict[str, tuple[int, int]]
    """Of each other trial: starts so far, and the step of its newest whole checkpoint."""

    def starts(self, name: str) -> int:
        """How often a trial had been started."""
        return self.ended.get(name, self.saved.get(name, (0, 0))[0])


def take_moment(folder: Path) -> Moment:
    """What is on disk now. Workers that still run can only add to it."""
    ended, saved = {}, {}
    for home in sorted((folder / "checkpoints").glob("*")):
        started = read_started(home)
        starts = len(started.starts) if started else 0
        if read_outcome(home) is not None:
            ended[home.name] = starts
        else:
            saved[home.name] = starts, newest_whole_step(home)
    ledger = folder / "ledger.jsonl"
    content = ledger.read_bytes() if ledger.exists() else b""
    return Moment(ledger=content[: content.rfind(b"\n") + 1], ended=ended, saved=saved)


def newest_whole_step(home: Path) -> int:
    """The step of the newest checkpoint that is a whole archive, 0 if there is none."""
    for path in sorted(home.glob("step_*.pt"), reverse=True):
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is None:
                    return int(path.stem.removeprefix("step_"))
        except (zipfile.BadZipFile, OSError, EOFError):
            continue
    return 0


def losses_of(folder: Path) -> Losses:
    """Training and validation loss of each epoch of each trial."""
    return {
        record.trial_id: [(e.train_loss_nats, e.val_loss_nats) for e in record.epochs]
        for record in records(folder)
    }


def records(folder: Path) -> list[TrialRecord]:
    return Ledger(folder / "ledger.jsonl").trials


def check_nothing_was_lost(folder: Path, moments: list[Moment]) -> None:
    """No record vanished, no ended trial was started again, and each start went on from the newest
    whole checkpoint that was there.

    Starts are compared with the moment before them only: the next fault may cut that file short.
    """
    content = (folder / "ledger.jsonl").read_bytes()
    for moment, following in zip_longest(moments, moments[1:]):
        assert content.startswith(moment.ledger), "a line of the ledger was lost or changed"
        for name, starts in moment.ended.items():
            assert len(_starts(folder, name)) <= max(starts, 1), f"{name} had ended, started again"
        for name, (starts, step) in moment.saved.items():
            until = following.starts(name) if following else None
            later = _starts(folder, name)[starts:until]
            known = [start.from_step for start in later if start.from_step is not None]
            assert all(from_step >= step for from_step in known), (
                f"{name} was at step {step} and went on from {known}"
            )


def _starts(folder: Path, name: str) -> tuple[Start, ...]:
    started = read_started(folder / "checkpoints" / name)
    return started.starts if started else ()


def check_end(folder: Path, expected: Losses) -> None:
    """The ledger is that of the undisturbed search, and nothing else is left."""
    lines = (folder / "ledger.jsonl").read_bytes().splitlines()
    found = records(folder)
    ended = sum(isinstance(decode(line), TrialRecord) for line in lines)
    assert ended == len(found) == len(expected), f"{ended} records for {len(expected)} trials"
    assert len(lines) == ended + 1, "counting is recorded once"
    assert all(record.status == COMPLETE for record in found), [r.error for r in found if r.error]
    assert losses_of(folder) == expected, "losses differ from the undisturbed search's"
    with closing(sqlite3.connect(folder / "study.db")) as study:
        states = Counter(state for (state,) in study.execute("SELECT state FROM trials"))
    assert states == {"COMPLETE": len(expected)}, f"study.db: {states}"
    rubbish = [
        path
        for path in folder.parent.rglob("*")
        if ".tmp" in path.name or path.name.startswith((f".{folder.name}-", "step_"))
    ]
    assert not rubbish, f"left on disk: {rubbish}"
    scratches = scratches_of(str(folder), folder.parents[1])
    assert not scratches, f"left on disk: {scratches}"
    assert not processes_of(folder), f"left running: {processes_of(folder)}"


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes of the search in `folder`, by the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
