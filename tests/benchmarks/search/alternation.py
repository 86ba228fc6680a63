"""Two sides that take turns on the whole machine: one side's processes are stopped (SIGSTOP) while
the other's run, for some seconds each, so that a machine that drifts does so for both. Linux only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def with_descendants(pids: Iterable[int]) -> list[int]:
    """These processes and all that they started, those first that were first."""
    found, waiting = [], list(pids)
    while waiting:
        pid = waiting.pop(0)
        try:
            children = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children")]
        except OSError:  # it ended meanwhile
            continue
        found.append(pid)
        waiting += map(int, " ".join(children).split())
    return found


class Side:
    """Some processes with all that they start, and a clock that stands while they are stopped."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.roots = list(pids)
        self.stopped: list[int] = []
        self.pauses: list[list[float]] = []
        """When each pause began and ended, in seconds since 1970."""

    def stop(self) -> None:
        self.stopped = with_descendants(self.roots)
        self._signal(signal.SIGSTOP)
        self.pauses.append([time.time(), float("inf")])

    def go_on(self) -> None:
        if not self.stopped:
            return
        self.pauses[-1][1] = time.time()
        self._signal(signal.SIGCONT)
        self.stopped = []

    def _signal(self, number: int) -> None:
        for pid in self.stopped:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def lasted(self, began: float, ended: float) -> float:
        """Seconds between two moments, without the pauses."""
        paused = sum(max(0.0, min(ended, end) - max(began, start)) for start, end in self.pauses)
        return ended - began - paused


def alternate(
    one: Side, other: Side, seconds: float, busy: tuple[Callable[[], bool], Callable[[], bool]]
) -> None:
    """Have `one` and `other` run in turn, `seconds` each, until one of them is no longer `busy`;
    then let the other go on."""
    try:
        other.stop()
        while _wait(seconds, busy):
            one.stop()
            other.go_on()
            if not _wait(seconds, busy):
                break
            other.stop()
            one.go_on()
    finally:
        one.go_on()
        other.go_on()


def _wait(seconds: float, busy: Iterable[Callable[[], bool]]) -> bool:
    """Wait for that long, or until a side is no longer busy. Whether both still are."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not all(ask() for ask in busy):
            return False
        time.sleep(0.05)
    return True
