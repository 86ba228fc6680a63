"""How the process' memory allocator treats the large buffers that every step makes and frees."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have freed memory kept for the next step instead of going back to the system.

    glibc maps large buffers afresh at each allocation, so that every step pays for tens of
    thousands of page faults: 8% of a step's time at embed 128 (one core of an AMD EPYC,
    2026-11-22). The process holds its peak until it ends. Does nothing under another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # Older versions of glibc refuse more than 32 MiB.
        _ = mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
