"""Ctrl-C and SIGTERM end a search, wherever Ray is just then."""

from __future__ import annotations

import signal
from typing import Any

from ray import tune


class Interruption(tune.Callback):
    """Raises KeyboardInterrupt at either signal, and again at Tune's next step if that was lost.

    Python raises it in whatever runs at the moment, and what Ray (2.60) calls back from its own
    code swallowed it in one of some seven runs: the search went on to its end.
    """

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """From now on, instead of the handlers that are there. In the main thread only."""
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def stop_listening(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    def _ask(self, *_: Any) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
