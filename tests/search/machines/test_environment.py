"""What a search's workers inherit."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from minigpt_search.search.machines.environment import WORKER_VARIABLES

FAULTS_IN_A_THREAD = """
import resource, subprocess, sys, threading
if sys.argv[1] == "search":
    from minigpt_search.search.machines.environment import prepare_environment
    prepare_environment(1)
if sys.argv[2] != "worker":
    sys.exit(subprocess.call([sys.executable, "-c", sys.argv[3], "", "worker"]))
import torch
from minigpt_search.model.hardware.allocator import keep_freed_memory
faults = []
def train():  # as Tune does, in a thread
    keep_freed_memory()
    for _ in range(20):
        torch.ones(25_000_000)  # 100 MB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
thread = threading.Thread(target=train)
thread.start()
thread.join()
print(faults[-1] - faults[9])  # by then it has what it needs
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is the one tuned")
def test_workers_keep_their_buffers_although_they_train_in_a_thread() -> None:
    def faults(how: str) -> int:
        words = [sys.executable, "-c", FAULTS_IN_A_THREAD, how, "driver", FAULTS_IN_A_THREAD]
        return int(subprocess.check_output(words))

    assert faults("search") < 100
    assert faults("plain") > 1_000  # else this test shows nothing


def test_inductor_starts_no_more_processes_than_a_trial_has_threads() -> None:
    assert WORKER_VARIABLES["TORCHINDUCTOR_COMPILE_THREADS"] == "1"
    code = (
        "from minigpt_search.search.machines.environment import prepare_environment\n"
        "prepare_environment(3)\n"
        "from torch._inductor import config\n"
        "print(config.compile_threads)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code]) == b"3\n"
