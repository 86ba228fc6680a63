"""Worker processes and Ctrl-C."""

from __future__ import annotations

import signal
import time

from minigpt_search.data.pipeline.workers import Workers


def mask(seconds: float) -> set[int]:
    time.sleep(seconds)
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_ctrl_c_never_reaches_a_worker_and_is_not_held_back_here() -> None:
    before = mask(0)
    with Workers(2) as pool:
        masks = list(pool.map(mask, [0.2] * 4))  # long enough for both to have some
    assert all(signal.SIGINT in worker for worker in masks)
    assert mask(0) == before and signal.SIGINT not in before
