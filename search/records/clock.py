"""How long a search has taken, all its runs together: `clock.json` in its folder.

Two times are kept. The budget's runs from each command's start. The other, which was predicted,
runs from when the plan has been said and its corpus is there. The driver notes them every few
seconds, so that a kill loses no more than that; the time between two runs doesn't count.
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
    """Seconds that the search in `folder` has used. It begins to search when this is made."""

    def __init__(
        self,
        folder: Path,
        started: float,
        now: Callable[[], float] = time.time,
        *,
        counts: bool = True,
    ) -> None:
        """
        Args:
            started: when this run's command began, by the clock `now`.
            counts: False for a run that has nothing to train: it adds no time.
        """
        self.path, self.started, self.now, self.counts = folder / FILE, started, now, counts
        self.used_before, self.searched_before = _read(self.path)
        self.noted_at = self.begun = now()

    def used(self) -> float:
        """Seconds from the commands' starts: what a budget is of."""
        return self.used_before + (self.now() - self.started if self.counts else 0)

    def searched(self) -> float:
        """Seconds without what comes before a search: what a prediction is of."""
        return self.searched_before + (self.now() - self.begun if self.counts else 0)

    def note(self) -> None:
        """Write them down; where that can't be, a resumed search knows less."""
        if not self.counts:
            return
        self.noted_at = self.now()
        times = {"used_seconds": self.used(), "searched_seconds": self.searched()}
        rounded = {name: round(seconds, 3) for name, seconds in times.items()}
        content = json.dumps(checked_json.seal(rounded))
        with suppress(OSError), atomic_file(self.path) as file:
            file.write(content.encode())

    def note_sometimes(self) -> None:
        if self.now() - self.noted_at >= NOTE_EVERY_SECONDS:
            self.note()


def _read(path: Path) -> tuple[float, float]:
    """Seconds used and searched. An older file has the first alone, which an older prediction was
    of."""
    try:
        raw = checked_json.unseal(checked_json.loads(path.read_bytes()))
        used = raw["used_seconds"]
        both = used, raw.get("searched_seconds", used)
    except (OSError, ValueError, KeyError):
        return 0.0, 0.0
    if not all(isinstance(seconds, int | float) and seconds >= 0 for seconds in both):
        return 0.0, 0.0
    return float(both[0]), float(both[1])
