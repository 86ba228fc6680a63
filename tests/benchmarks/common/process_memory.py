"""What a process has in memory (Linux)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil


class Memory(NamedTuple):
    """Of a process, in bytes."""

    own: int = 0
    """Anonymous pages."""
    resident: int = 0
    """All: files mapped into it, which are cache, and Ray's shared memory too."""

    def raised_to(self, other: Memory) -> Memory:
        return Memory(*map(max, self, other))


def memory_of(process: psutil.Process) -> Memory:
    """Of `process` now; none if it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines[1:])
        own, resident = (int(found[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss"))
        return Memory(own, resident)
    except (OSError, KeyError):  # it ended meanwhile
        return Memory()
