"""Real searches that are ended half-way."""

from __future__ import annotations

import functools
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """`wait_for(driver, happened)`: wait until something happened, while the driver runs."""

    def wait(driver: subprocess.Popen[Any], happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 200
        while not happened():
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def end_when(
    command_of: Callable[..., list[str]], wait_for: Callable[..., None]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`end_when(happened, *words, sent=SIGKILL)`: a search whose driver alone gets the signal as
    soon as something happened."""

    def end(
        happened: Callable[[], bool], *words: str, sent: signal.Signals = signal.SIGKILL
    ) -> subprocess.CompletedProcess[str]:
        # Workers of a killed driver hold a pipe open that they have from it: it prints into none.
        pipe = subprocess.DEVNULL if sent == signal.SIGKILL else subprocess.PIPE
        command = command_of("search/run.py", *words)
        # A shell's `&` has its children ignore SIGINT.
        heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        driver = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heeding)
        wait_for(driver, happened)
        driver.send_signal(sent)
        stdout, stderr = driver.communicate(timeout=60)
        return subprocess.CompletedProcess(command, driver.returncode, stdout, stderr)

    return end


@pytest.fixture
def threads() -> Iterator[None]:
    """For what sets torch's number of threads in this process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
