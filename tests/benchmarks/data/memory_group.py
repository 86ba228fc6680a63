"""A control group of Linux that holds a process to so much memory, pages of mapped files included.

Needs root, or a group that is one's own. Version 1 and version 2 of control groups.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_VERSION_1, _VERSION_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class MemoryGroup:
    """Use as a context manager, and have the process write its number to `door`."""

    def __init__(self, limit_bytes: int | None) -> None:
        is_first = _VERSION_1.is_dir()
        parent = _VERSION_1 if is_first else _VERSION_2
        self._folder = parent / f"minigpt-{os.getpid()}-{time.monotonic_ns()}"
        self._limit = "memory.limit_in_bytes" if is_first else "memory.max"
        self._peak = "memory.max_usage_in_bytes" if is_first else "memory.peak"
        self._limit_bytes = limit_bytes

    @property
    def door(self) -> Path:
        """The file that takes the numbers of processes in."""
        return self._folder / "cgroup.procs"

    def peak_bytes(self) -> int:
        """The most that was charged to the group: memory of its own and pages it read first."""
        return int((self._folder / self._peak).read_text())

    def __enter__(self) -> MemoryGroup:
        try:
            self._folder.mkdir()
            if self._limit_bytes is not None:
                (self._folder / self._limit).write_text(str(self._limit_bytes))
        except OSError as error:
            raise SystemExit(f"{self._folder}: {error.strerror}: needs root") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _ in range(50):  # a process is in it until it has been waited for
            with suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.1)
