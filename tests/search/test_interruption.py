"""Signals that end a search."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from search.interruption import Interruption


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
    interruption = Interruption()
    interruption.listen()
    interruption.on_step_begin(1, [])  # nothing was asked yet
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)
    with pytest.raises(KeyboardInterrupt):
        interruption.on_step_begin(2, [])
    interruption.stop_listening()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(sent)
