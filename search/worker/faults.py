"""What can go wrong that is not the trial's own fault: no memory, nowhere to write, a broken GPU.

Memory is told from `/proc/vmstat`, which counts the processes that Linux has killed for want of
it: a worker that vanished while the count rose was most likely one of them. (Ray's own memory
monitor is off: the whole of Tune ends when it kills a worker, ray 2.60.)

Some faults on a GPU break the process' CUDA context: each later call fails with the same words,
whatever it is for, until another process is started.
"""

from __future__ import annotations

import errno
import functools
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from minigpt_search.data.common.errors import FULL
from minigpt_search.model.hardware.device import describe_device
from minigpt_search.model.out_of_memory import is_out_of_memory
from minigpt_search.model.records import Device
from minigpt_search.search.records.ledger_records import OUT_OF_MEMORY
from minigpt_search.search.trials.trial import Trial

VMSTAT = Path("/proc/vmstat")
_BROKEN = (
    "device-side assert triggered",
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "hardware stack error",
    "unspecified launch failure",
    "the launch timed out and was terminated",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error",
    "context is destroyed",
    "MPS client",
    "CUDA error: unknown error",
)
"""CUDA's words for the errors after which "the process must be terminated and relaunched"
(https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html), whoever passes them on:
torch, Triton or Inductor."""
_STORAGE = {
    *FULL,
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),  # not to be written
}


class DeviceBroken(Exception):
    """This process can't use its GPU any more; the message is the fault's, in one line."""

    def __init__(self, error: str, trials: Sequence[Trial] = ()) -> None:
        """`trials`: those that were being trained. Of several it can't be told whose fault it
        was."""
        super().__init__(error)
        self.error, self.trials = error, tuple(trials)


def is_storage_fault(error: BaseException) -> bool:
    """Whether a file could not be written because of where it is."""
    return isinstance(error, OSError) and error.errno in _STORAGE


def device_fault(error: Exception) -> str | None:
    """What has broken this process' CUDA context, in one line; None if it can be used.

    Kernels run behind Python's back, so that a fault may show as another error first, such as a
    library that can't be started: where `error` says nothing, the GPU is waited for.
    """
    found = _fault_in(error)
    if found is None and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError as behind:
            found = _fault_in(behind)
    return found


def _fault_in(error: Exception) -> str | None:
    words = str(error)
    if not isinstance(error, RuntimeError) or not any(known in words for known in _BROKEN):
        return None
    return next(line for line in words.splitlines() if any(known in line for known in _BROKEN))


def note_error(exception: Exception, fault: str | None, folders: list[Path]) -> str:
    """Leave the traceback in the folders; the error in one line. `fault`: what has broken the
    GPU's context, if something has; then it is the cause, whatever the error says."""
    for folder in folders:
        text = "".join(traceback.format_exception(exception))
        (folder / "error.log").write_text(text, encoding="utf-8", errors="backslashreplace")
    error = f"{type(exception).__name__}: {(str(exception).splitlines() or [''])[0]}"
    if fault is not None:
        return error if fault in error else f"{error}, after {fault}"
    return f"{OUT_OF_MEMORY}: {error}" if is_out_of_memory(exception) else error


def known_device(device: str) -> Device:
    """The device as a trial's record names it."""
    name = _name(device)
    return Device(kind=torch.device(device).type, name=name, threads=torch.get_num_threads())


@functools.cache
def _name(device: str) -> str:
    """The device's own name, asked for once: after some faults a GPU answers nothing. A driver may
    have none itself where its workers have one."""
    try:
        return describe_device(device).name
    except (RuntimeError, AssertionError):  # without a driver; by a torch built without CUDA
        return "unknown"


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
