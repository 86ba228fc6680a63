"""What ends a search early."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from minigpt_search.search.driver.interruption import InterruptHandler, NoStorage
from minigpt_search.search.machines.machines import RayLost
from minigpt_search.search.trials.reports import NO_STORAGE


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of both signals back."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_was_swallowed_is_raised_again_at_the_next_step(
    sent: signal.Signals,
) -> None:
    early_end = InterruptHandler()
    early_end.listen()
    early_end.on_step_begin(1, [])  # nothing was asked yet
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)
    with pytest.raises(KeyboardInterrupt):
        early_end.on_step_begin(2, [])
    early_end.stop_listening()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)


def test_a_lost_process_of_rays_ends_the_run_of_tune() -> None:
    lost: list[str] = []
    early_end = InterruptHandler()
    early_end.find_lost = lambda: lost[0] if lost else None
    early_end.on_step_begin(1, [])
    lost.append("raylet")
    early_end.looked_at = 0.0
    with pytest.raises(RayLost, match="raylet"):
        early_end.on_step_begin(2, [])


def test_a_trial_that_can_t_write_ends_the_run_of_tune() -> None:
    early_end = InterruptHandler()
    early_end.on_trial_result(1, [], None, {"kind": "end", "status": "complete"})
    early_end.on_step_begin(2, [])
    early_end.on_trial_result(2, [], None, {"status": NO_STORAGE, "error": "disk full: /x"})
    with pytest.raises(NoStorage, match="disk full: /x"):
        early_end.on_step_begin(3, [])
