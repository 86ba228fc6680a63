"""A trial's own folder, `checkpoints/TRIAL_ID/`: what its worker leaves for the driver.

    trial.json     the axes' values, and each of its starts
    step_N.pt      the two newest checkpoints, gone once its record is in the ledger
    final.pt       the final weights
    outcome.json   its ledger record, written by the worker as its last act
    error.log      the traceback, if it failed

Only the driver writes the ledger. If it is killed before it has copied an outcome, it finds the
outcome here when it resumes, and nothing is trained twice. A file that is damaged here counts as
not there: then the trial goes on from its newest whole checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.files import atomic_file
from minigpt_search.model.training.checkpoint_files import step_files
from minigpt_search.search.records.ledger_lines import decode, encode
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.space.axes import Value

STARTED_FILE = "trial.json"


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a trial's process."""

    session: str
    """Of which run of the driver."""
    from_step: int | None = None
    """The optimizer step it went on from; None if it was lost before it knew."""
    memory_kills: int | None = None
    """How many processes the machine had killed for memory by then; None if it doesn't say."""
    threads: int | None = None
    """With how many it trained; None in a file from before they could change."""
    fault: str | None = None
    """What broke the GPU's context under it and others, in one line; None if nothing did."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A trial that was started at least once."""

    values: dict[str, Value]
    """The axes' values."""
    replicate: int
    starts: tuple[Start, ...] = ()

    def threads_of_attempts(self) -> tuple[int, ...]:
        """The threads of the starts that its weights went through, from the newest at step 0 on,
        oldest first; none if they are the same all along."""
        trained: list[int] = []
        for start in reversed(self.starts):
            if start.from_step is not None and start.threads is not None:
                trained.insert(0, start.threads)
                if start.from_step == 0:
                    break
        return tuple(trained) if len(set(trained)) > 1 else ()


def trial_folder(experiment_folder: Path, trial_id: str) -> Path:
    """Where trial `trial_id` keeps its files."""
    return experiment_folder / "checkpoints" / trial_id


def note_start(folder: Path, values: dict[str, Value], replicate: int, start: Start) -> Started:
    """Note that the trial starts, and return all that is known of its starts."""
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob("*.tmp"):
        left_over.unlink(missing_ok=True)
    known = read_started(folder)
    starts = (*(known.starts if known else ()), start)
    started = Started(values=values, replicate=replicate, starts=starts)
    _write_started(folder, started)
    return started


def note_first_step(folder: Path, step: int) -> Path:
    """Note the step that the newest start goes on from, in the file that is returned."""
    return _note_of_newest(folder, from_step=step)


def note_fault(folder: Path, fault: str) -> Path:
    """Note what broke the GPU under the newest start, in the file that is returned."""
    return _note_of_newest(folder, fault=fault)


def _note_of_newest(folder: Path, **fields: Any) -> Path:
    started = read_started(folder)
    assert started is not None
    newest = dataclasses.replace(started.starts[-1], **fields)
    _write_started(folder, dataclasses.replace(started, starts=(*started.starts[:-1], newest)))
    return folder / STARTED_FILE


def _write_started(folder: Path, started: Started) -> None:
    content = json.dumps(checked_json.seal(dataclasses.asdict(started)))
    with atomic_file(folder / STARTED_FILE) as file:
        file.write(content.encode())


def read_started(folder: Path) -> Started | None:
    """What is known of a trial's starts; None if it never was started, or the file is damaged."""
    try:
        raw = checked_json.unseal(checked_json.loads((folder / STARTED_FILE).read_bytes()))
        return checked_json.build(Started, raw)
    except (FileNotFoundError, ValueError):
        return None


def write_outcome(folder: Path, record: TrialRecord) -> None:
    """Keep the record for the driver."""
    with atomic_file(folder / "outcome.json") as file:
        file.write(encode(record))


def read_outcome(folder: Path) -> TrialRecord | None:
    """The record of a trial that ended; None if it has not, or if the file is damaged."""
    try:
        record = decode((folder / "outcome.json").read_bytes())
    except (FileNotFoundError, ValueError):  # damaged on disk: the trial is trained again
        return None
    return record if isinstance(record, TrialRecord) else None


def forget_outcome(folder: Path) -> None:
    """Let a failed trial be tried again."""
    (folder / "outcome.json").unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Remove what an ended trial, whose record is in the ledger, has no more use for."""
    for path in (*step_files(folder), *folder.glob("*.tmp")):
        path.unlink(missing_ok=True)
