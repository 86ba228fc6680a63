"""The ledger: one JSON record a line, appended by the driver, the only thing reports read.

A record is on disk (fsync) before the driver goes on, so a kill loses at most the line being
written. Such a torn last line has no newline: readers pass over it and the next append cuts it
off. Damage anywhere else is an error that names the line, or with `--skip-damaged` a warning: the
line stays where it is, and its record counts as missing. Each line has a checksum (version 1 had
none). No torch, no Ray.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from minigpt_search.data.common.errors import UserError, one_line
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.search.records.ledger_lines import decode, encode
from minigpt_search.search.records.ledger_records import (
    BaselineRecord,
    PredictionRecord,
    Record,
    RerunRecord,
    TrialRecord,
)

_KIND = re.compile(rb'"record": ?"([a-z]+)"')
_WITHOUT = {
    "trial": "its trial counts as not run, and --resume trains it again",
    "rerun": "its rerun counts as not made",
    "baseline": "what counting scores is missing there, and --resume counts again",
    "prediction": "a ladder's prediction is missing, and --resume makes it again only where no run "
    "of that length is in the ledger",
}
"""What it means to pass over a record, by its kind."""
_UNKNOWN = "its record counts as missing: if it was a trial's, --resume trains that again"


class Ledger:
    """The records of one experiment, in the order they were written."""

    def __init__(self, path: Path, skip_damaged: bool = False) -> None:
        """Read `path` (it need not exist yet). Raises `UserError` on a damaged line, unless it is
        to be passed over; then `damaged` names it."""
        self.path = path
        self._trials: dict[str, TrialRecord] = {}
        self._ended: set[str] = set()
        self.reruns: list[RerunRecord] = []
        self.baselines: list[BaselineRecord] = []
        self.predictions: list[PredictionRecord] = []
        self.damaged: list[str] = []
        """A sentence for each line that was passed over."""
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        # Not `splitlines`: it takes a damaged byte for the end of a line.
        *lines, tail = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._remember(decode(line))
            except ValueError as error:
                damage = one_line(f"{path}, line {number} is damaged ({error})")
                if not skip_damaged:
                    raise UserError(
                        f"{damage}: restore it from a copy, or pass over it with --skip-damaged; "
                        f"then {_without(line)}"
                    ) from None
                self.damaged.append(f"{damage}: passed over, {_without(line)}")
        self._whole_bytes = len(content) - len(tail)
        self._newline = b""
        """Before the next record, where the last one lacks its own."""
        self._take_over(tail)

    def _take_over(self, tail: bytes) -> None:
        """What follows the last newline was torn by a kill, and the next append cuts it off; but a
        record of which only the newline is missing or damaged is whole."""
        for whole in (tail, tail[:-1]):
            try:
                self._remember(decode(whole))
            except ValueError:
                continue
            self._whole_bytes += len(whole)
            self._newline = b"\n"
            return

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on disk. Raises `UserError` if it can't be."""
        line = self._newline + encode(record)
        try:
            with open(self.path, "ab") as file:
                file.truncate(self._whole_bytes)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
                self._whole_bytes = file.tell()
                self._newline = b""
        except OSError as error:
            raise UserError(f"{self.path}: can't be written to ({error.strerror})") from None
        self._remember(record)

    def _remember(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            self._trials.pop(record.trial_id, None)
            self._trials[record.trial_id] = record
            if record.status == FAILED:
                self._ended.discard(record.trial_id)
            else:
                self._ended.add(record.trial_id)
        elif isinstance(record, BaselineRecord):
            self.baselines.append(record)
        elif isinstance(record, PredictionRecord):
            self.predictions.append(record)
        else:
            self.reruns.append(record)

    @property
    def trials(self) -> list[TrialRecord]:
        """The newest record of each trial: a failed one may have been tried again on resume."""
        return list(self._trials.values())

    def ended(self) -> set[str]:
        """Ids of the trials that are not to be trained again: all but the failed ones."""
        return set(self._ended)

    def has_ended(self, trial_id: str) -> bool:
        """Whether it is one of `ended`."""
        return trial_id in self._ended

    @property
    def ended_count(self) -> int:
        """How many have `ended`."""
        return len(self._ended)

    def newest(self, trial_id: str) -> TrialRecord | None:
        """The newest record of one trial."""
        return self._trials.get(trial_id)

    def configurations(self) -> int:
        """How many there are, whatever their seeds and endings."""
        return len({record.config.replace(seed=0) for record in self._trials.values()})

    def complete(self) -> list[TrialRecord]:
        """The trials that finished, in the order they did."""
        return [t for t in self.trials if t.status == COMPLETE]

    def best(self) -> TrialRecord | None:
        """The complete trial with the lowest final validation loss."""
        return min(self.complete(), key=lambda t: t.final.val_loss_nats, default=None)


def open_ledger(folder: Path, skip_damaged: bool) -> Ledger:
    """The ledger of the experiment in `folder`; a line of warning for each one passed over.

    Raises `UserError` on a damaged line that is not to be passed over.
    """
    ledger = Ledger(folder / "ledger.jsonl", skip_damaged)
    for damage in ledger.damaged:
        print(f"Warning    {damage}", flush=True)
    return ledger


def _without(line: bytes) -> str:
    """What it means to pass over a damaged line, of whose kind it may still tell."""
    kinds = {found.decode() for found in _KIND.findall(line)}
    return _WITHOUT.get(kinds.pop(), _UNKNOWN) if len(kinds) == 1 else _UNKNOWN
