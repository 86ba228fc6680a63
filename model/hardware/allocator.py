"""How the process' memory allocator treats the large buffers that every step makes and frees."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # mallopt's parameters, as in glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory for the next step instead of giving it back.

    glibc maps large buffers afresh at each allocation, so that every step pays for tens of
    thousands of page faults: 8% of a step's time at embed 128 (one core of an AMD EPYC,
    2026-11-22). The process holds its peak until it ends. Does nothing under another C library.

    In a thread it takes MALLOC_ARENA_MAX=1 in the environment as well, at the process' start: the
    arenas of threads hold no block above 64 MB (3% of a step's time).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # a threshold can't be above 32 MiB in many versions of glibc
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
