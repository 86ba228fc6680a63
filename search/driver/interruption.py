"""What ends a run of Tune before its trials have: Ctrl-C or SIGTERM, Ray's own processes lost,
nowhere to write."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from ray import tune

from minigpt_search.search.machines.machines import RayLost
from minigpt_search.search.trials.reports import NO_STORAGE

LOOK_EVERY_SECONDS = 1.0


class NoStorage(Exception):
    """A trial can't write its files; what it needs was said in one line."""


class InterruptHandler(tune.Callback):
    """Raises the reason at Tune's next step.

    A signal raises KeyboardInterrupt at once, and again at that step if it was lost: Python raises
    it in whatever runs at the moment, and what Ray (2.60) calls back from its own code swallowed
    it in one of some seven runs, so that the search went on to its end.
    """

    def __init__(self, check_storage: Callable[[], None] = lambda: None) -> None:
        """`check_storage` raises OSError if what the driver writes can't be kept."""
        self.check_storage = check_storage
        self.find_lost: Callable[[], str | None] = lambda: None
        """Names the process of Ray's that is gone, if one is, once there is a Ray. Tune itself
        waits for ever for a lost raylet."""
        self.interrupted = False
        self.no_storage: str | None = None
        self.looked_at = 0.0

    def listen(self) -> None:
        """From now on, instead of the signal handlers that are there. In the main thread only."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)

    def stop_listening(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    def _interrupt(self, *_: Any) -> None:
        self.interrupted = True
        raise KeyboardInterrupt

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result.get("status") == NO_STORAGE:
            self.no_storage = result["error"]

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        if self.no_storage is not None:
            raise NoStorage(self.no_storage)
        if time.monotonic() - self.looked_at > LOOK_EVERY_SECONDS:
            self.looked_at = time.monotonic()
            self.check_storage()
            lost = self.find_lost()
            if lost is not None:
                raise RayLost(f"Ray lost its process {lost}")
