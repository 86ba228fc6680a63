"""Large buffers come from memory that stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MAPPED_BUFFERS = """
import ctypes, torch
from minigpt_search.model.hardware.allocator import keep_freed_memory
class Mallinfo2(ctypes.Structure):  # glibc's malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
def mapped():
    before = mallinfo2().hblks
    buffers = [torch.empty(6_000_000) for _ in range(3)]  # 24 MB each
    return mallinfo2().hblks - before, buffers
before, held = mapped()
keep_freed_memory()
after, more = mapped()
print(before, after)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is the one tuned")
def test_large_buffers_are_no_longer_mapped_one_by_one() -> None:
    printed = subprocess.check_output([sys.executable, "-c", MAPPED_BUFFERS], text=True)
    assert printed.split() == ["3", "0"]
