"""Worker processes and Ctrl-C."""

from __future__ import annotations

import signal

from data.parallel import Workers


def mask(_: int) -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_ctrl_c_never_reaches_a_worker_and_is_not_held_back_here() -> None:
    before = mask(0)
    with Workers(2) as pool:
        masks = list(pool.map(mask, range(6)))
    assert all(signal.SIGINT in worker for worker in masks)
    assert mask(0) == before and signal.SIGINT not in before
