"""A trial's own folder, `checkpoints/TRIAL_ID/`: what its worker leaves for the driver.

    trial.json     the axes' values and how often it was started
    step_N.pt      the two newest checkpoints, gone once it ended
    final.pt       the final weights
    outcome.json   its ledger record, written by the worker as its last act

Only the driver writes the ledger. If it is killed before it has copied an outcome, it finds the
outcome here when it resumes, and nothing is trained twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from data import checked_json
from model.checkpoint import step_files
from model.records import FAILED
from search.ledger import TrialRecord, decode, encode


def trial_folder(experiment_folder: Path, trial_id: str) -> Path:
    """Where trial `trial_id` keeps its files."""
    return experiment_folder / "checkpoints" / trial_id


def _write_atomically(path: Path, content: bytes) -> None:
    # The process' own name: a worker of a killed driver lives on for a few seconds.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def begin_attempt(folder: Path, values: dict[str, float], replicate: int) -> int:
    """Note that the trial starts, and return how often it has by now."""
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob("*.tmp"):
        left_over.unlink(missing_ok=True)
    started = read_started(folder)
    attempts = (started["attempts"] if started else 0) + 1
    content = {"values": values, "replicate": replicate, "attempts": attempts}
    _write_atomically(folder / "trial.json", json.dumps(checked_json.seal(content)).encode())
    return attempts


def read_started(folder: Path) -> dict[str, Any] | None:
    """values, replicate and attempts of a trial that was started; None if it never was, or if the
    file is damaged."""
    try:
        started = checked_json.unseal(checked_json.loads((folder / "trial.json").read_bytes()))
    except (FileNotFoundError, ValueError):
        return None
    return started if set(started) == {"values", "replicate", "attempts"} else None


def write_outcome(folder: Path, record: TrialRecord) -> None:
    """Keep the record for the driver. The step checkpoints have served their purpose, unless the
    trial failed and may be tried again."""
    _write_atomically(folder / "outcome.json", encode(record))
    if record.status != FAILED:
        for path in step_files(folder):
            path.unlink(missing_ok=True)


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
