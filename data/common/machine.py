"""What this process may use of the machine: cores and memory, as affinity and cgroups limit them.

Containers and batch systems set quotas (`docker --cpus=2 --memory=8g`, Slurm, systemd), which
neither the number of processors nor the size of the memory shows.
Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html and
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC_CGROUP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The cores that this process may run on, at least 1; of a quota of 1.5 cores that is 1."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quotas = list(_core_quotas())
    return max(1, min([cores, *map(int, quotas)]))


def usable_memory() -> int:
    """The bytes of memory that this process may fill."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_memory_limits()])


def _core_quotas() -> Iterator[float]:
    """The cores that each of this process' cgroups may keep busy, where it has a limit."""
    for folder in _cgroups("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
                period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
            if quota != "max" and int(quota) > 0:  # version 1 says -1 where there is none
                yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    for folder in _cgroups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                yield int((folder / name).read_text(encoding="utf-8"))  # "max": no limit


def _cgroups(controller: str) -> Iterator[Path]:
    """The folders of this process' cgroups with a controller, from its own up to the topmost."""
    with suppress(OSError):
        for line in PROC_CGROUP.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _, names, path = line.split(":", 2)
            if names and controller not in names.split(","):
                continue
            root = MOUNT / names if names else MOUNT
            root = root if root.is_dir() else MOUNT / controller
            folder = root / path.lstrip("/")
            # within a container's namespace the path may be one of the host's: the top is its own
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))
