"""Where a running search is shown: a line that is drawn again on a terminal, or lines of a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tqdm import tqdm

from minigpt_search.search.driver.status_line import Status, log_line, terminal_line

TICK_SECONDS = 1.0
"""Between two drawings where nothing happens: the clock moves."""
SOONEST_SECONDS = 0.5
"""Between two drawings because something was reported."""
LOG_SECONDS = 60.0
"""Between two lines of a log (CI, nohup, Slurm's file)."""
UNKNOWN_COLUMNS = 80
"""Of a terminal that doesn't say how wide it is."""


class Screen:
    """Standard error, as it is when this is made."""

    def __init__(self, status: Callable[[], Status], began: float | None = None) -> None:
        """`status` is asked at each drawing, also by a thread; the clock shows the time since
        `began`, in seconds of `time.monotonic`, by default since now."""
        self.status, self.began = status, time.monotonic() if began is None else began
        self.is_terminal = sys.stderr.isatty()
        self._drawn_at = -LOG_SECONDS
        self._bar = (
            tqdm(total=1, bar_format="{desc}", file=sys.stderr, dynamic_ncols=True)
            if self.is_terminal
            else None
        )
        self._end = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="screen", daemon=True)
        self.draw()
        self._clock.start()

    def _tick(self) -> None:
        with suppress(OSError, ValueError):  # it was closed: whoever writes next says so
            while not self._end.wait(TICK_SECONDS):
                self.draw(TICK_SECONDS / 2)

    def draw(self, soonest: float = 0.0) -> None:
        """Show the status of now, unless it was shown less than `soonest` seconds ago, or in a log
        a minute."""
        with tqdm.get_lock():
            now = time.monotonic()
            soonest = soonest if self.is_terminal else LOG_SECONDS
            if now - self._drawn_at < soonest or self._end.is_set():
                return
            self._drawn_at = now
            elapsed = tqdm.format_interval(now - self.began)
            if self._bar is None:
                tqdm.write(f"  {log_line(self.status(), elapsed)}", file=sys.stderr)
                sys.stderr.flush()
                return
            columns = (self._bar.format_dict["ncols"] or UNKNOWN_COLUMNS + 1) - 1
            text = terminal_line(self.status(), elapsed, columns, bool(self._bar.ascii))
            self._bar.set_description_str(text, refresh=False)
            self._bar.refresh()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        tqdm.write(f"  {text}", file=sys.stderr)

    def close(self) -> None:
        """Leave the line as it is and go to the next."""
        if self.is_terminal:
            self.draw()
        self._end.set()
        self._clock.join(TICK_SECONDS)
        if self._bar is not None:
            self._bar.close()
