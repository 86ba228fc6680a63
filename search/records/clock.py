"""How long a search has taken, all its runs together: `clock.json` in its folder.

The driver notes it every few seconds, so that a kill loses no more than that. The budget's clock
runs from the command's start; the time between two runs doesn't count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.files import atomic_file

FILE = "clock.json"
NOTE_EVERY_SECONDS = 5.0


def process_start() -> float:
    """When this process began, in seconds since 1970."""
    return psutil.Process().create_time()


class Clock:
    """Seconds that the search in `folder` has used."""

    def __init__(self, folder: Path, started: float, now: Callable[[], float] = time.time) -> None:
        """`started`: when this run of it began, by the clock `now`."""
        self.path, self.started, self.now = folder / FILE, started, now
        self.before = _read(self.path)
        self.noted_at = now()

    def used(self) -> float:
        return self.before + self.now() - self.started

    def note(self) -> None:
        """Write it down; where that can't be, a resumed search knows less."""
        self.noted_at = self.now()
        content = json.dumps(checked_json.seal({"used_seconds": round(self.used(), 3)}))
        with suppress(OSError), atomic_file(self.path) as file:
            file.write(content.encode())

    def note_sometimes(self) -> None:
        if self.now() - self.noted_at >= NOTE_EVERY_SECONDS:
            self.note()


def _read(path: Path) -> float:
    try:
        raw = checked_json.unseal(checked_json.loads(path.read_bytes()))
        used = raw["used_seconds"]
        return float(used) if isinstance(used, int | float) and used >= 0 else 0.0
    except (OSError, ValueError, KeyError):
        return 0.0
