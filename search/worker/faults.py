"""What can go wrong that is not the trial's own fault: no memory, nowhere to write.

Memory is told from `/proc/vmstat`, which counts the processes that Linux has killed for want of
it: a worker that vanished while the count rose was most likely one of them. (Ray's own memory
monitor is off: the whole of Tune ends when it kills a worker, ray 2.60.)
"""

from __future__ import annotations

import errno
from pathlib import Path

import torch

from minigpt_search.data.common.errors import FULL

VMSTAT = Path("/proc/vmstat")
_NO_MEMORY = (
    "DefaultCPUAllocator",  # torch's on a CPU
    "CUDA error: out of memory",  # the driver's: a context, a graph, or what a neighbour left
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
)
"""In the message of a `RuntimeError` for lack of memory that is no `torch.OutOfMemoryError`."""
_STORAGE = {
    *FULL,
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),  # not to be written
}


def is_storage_fault(error: BaseException) -> bool:
    """Whether a file could not be written because of where it is."""
    return isinstance(error, OSError) and error.errno in _STORAGE


def is_out_of_memory(error: Exception) -> bool:
    """Whether a trial found too little memory, on a GPU or here."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def memory_kills() -> int | None:
    """How many processes this machine has killed for memory since it booted (Linux)."""
    try:
        lines = VMSTAT.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def was_killed_for_memory(before: int | None) -> bool:
    """Whether a process was killed for memory since `memory_kills` was `before`."""
    now = memory_kills()
    return before is not None and now is not None and now > before
