"""The ledger: one JSON record a line, appended by the driver, the only thing reports read.

A record is on disk (fsync) before the driver goes on, so a kill loses at most the line being
written. Such a torn last line has no newline: readers pass over it and the next append cuts it
off. Damage anywhere else is an error that names the line. No torch, no Ray.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from model.config import RunConfig
from model.records import (
    COMPLETE,
    FAILED,
    STATUSES,
    CheckpointRef,
    Device,
    EpochRecord,
    Timing,
)

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One ended trial."""

    trial_id: str
    """`model.config.trial_id` of the configuration and the corpus."""
    config: RunConfig
    replicate: int
    """0 for the first seed of a configuration, 1 for the second, ..."""
    status: str
    """One of `model.records.STATUSES`."""
    epochs: tuple[EpochRecord, ...]
    """The epochs that finished, in order."""
    error: str | None
    """Why a trial diverged or failed, in one line."""
    steps: int
    """Optimizer steps done."""
    timing: Timing
    device: Device | None
    """None when the trial failed before it had one."""
    versions: dict[str, str]
    """Python's and the libraries' versions."""
    checkpoint: CheckpointRef | None
    """The final weights."""
    attempts: int
    """How often the trial was started; more than 1 after a kill or a lost worker."""
    ended_at: str
    """UTC, ISO 8601."""
    pack: int = 1
    """Trials that trained together in its process, this one among them; `timing` and the speeds
    of the epochs are the pack's."""
    taken_from: str | None = None
    """The experiment that trained it, if this one took it over (`--extend`)."""

    @property
    def final(self) -> EpochRecord:
        """The last epoch of a complete trial; a `ValueError` for any other: no number of a trial
        that did not finish may stand beside one that did."""
        if self.status != COMPLETE or not self.epochs:
            raise ValueError(f"trial {self.trial_id} is {self.status}, it has no final result")
        return self.epochs[-1]


@dataclass(frozen=True, kw_only=True)
class RerunRecord:
    """One rerun of a trial, and with it one look at the test split."""

    trial_id: str
    val_loss_nats: float
    """What the rerun came to."""
    ledger_val_loss_nats: float
    """What the trial's own record says."""
    same_bits: bool
    """Whether the two are equal to the last bit."""
    same_machine: bool
    """Whether device, threads and library versions are the trial's: only then are equal bits
    expected."""
    test_loss_nats: float
    test_perplexity: float
    test_bits_per_byte: float
    checkpoint: CheckpointRef
    wall_seconds: float
    ended_at: str


def encode(record: TrialRecord | RerunRecord) -> bytes:
    """One line of JSON. Raises `ValueError` for a number that is not finite."""
    kind = "trial" if isinstance(record, TrialRecord) else "rerun"
    fields = {"schema_version": SCHEMA_VERSION, "record": kind, **dataclasses.asdict(record)}
    return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> TrialRecord | RerunRecord:
    """The inverse of `encode`. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    raw: dict[str, Any] = json.loads(line)
    version, kind = raw.pop("schema_version"), raw.pop("record")
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, this program reads {SCHEMA_VERSION}")
    if raw.get("checkpoint") is not None:
        raw["checkpoint"] = CheckpointRef(**raw["checkpoint"])
    if kind == "rerun":
        return RerunRecord(**raw)
    if kind != "trial" or raw["status"] not in STATUSES:
        raise ValueError(f"unknown record {kind!r} or status {raw.get('status')!r}")
    raw["config"] = RunConfig.from_dict(raw["config"])
    raw["epochs"] = tuple(EpochRecord(**epoch) for epoch in raw["epochs"])
    raw["timing"] = Timing(**raw["timing"])
    raw["device"] = Device(**raw["device"]) if raw["device"] is not None else None
    return TrialRecord(**raw)


class Ledger:
    """The records of one experiment, in the order they were written."""

    def __init__(self, path: Path) -> None:
        """Read `path` (it need not exist yet). Raises `UserError` on a damaged line."""
        self.path = path
        self._trials: dict[str, TrialRecord] = {}
        self.reruns: list[RerunRecord] = []
        self._whole_bytes = 0
        content = path.read_bytes() if path.exists() else b""
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                break  # torn by a kill; the next append cuts it off
            try:
                self._remember(decode(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path}, line {number} is damaged ({error}): restore it from a copy, or "
                    "delete the line and --resume to train that trial again"
                ) from None
            self._whole_bytes += len(line)

    def append(self, record: TrialRecord | RerunRecord) -> None:
        """Write one record and wait until it is on disk."""
        with open(self.path, "ab") as file:
            file.truncate(self._whole_bytes)
            file.write(encode(record))
            file.flush()
            os.fsync(file.fileno())
            self._whole_bytes = file.tell()
        self._remember(record)

    def _remember(self, record: TrialRecord | RerunRecord) -> None:
        if isinstance(record, TrialRecord):
            self._trials.pop(record.trial_id, None)
            self._trials[record.trial_id] = record
        else:
            self.reruns.append(record)

    @property
    def trials(self) -> list[TrialRecord]:
        """The newest record of each trial: a failed one may have been tried again on resume."""
        return list(self._trials.values())

    def ended(self) -> set[str]:
        """Ids of the trials that are not to be trained again: all but the failed ones."""
        return {t.trial_id for t in self.trials if t.status != FAILED}

    def complete(self) -> list[TrialRecord]:
        """The trials that finished, in the order they did."""
        return [t for t in self.trials if t.status == COMPLETE]

    def best(self) -> TrialRecord | None:
        """The complete trial with the lowest final validation loss."""
        return min(self.complete(), key=lambda t: t.final.val_loss_nats, default=None)
