"""One progress bar for each stage on standard error, and the seconds that each stage took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 10.0
"""The time between updates when standard error is a file: a log with a line each 0.1 s is of no
use."""


class _Bar(tqdm):
    """A bar that is wiped from the screen when what it counts fails, where the error's one line is
    to stand. In a log each of its states is a line."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """What draws a state of the bar on `file`."""
        if file.isatty():
            return tqdm.status_printer(file)

        def write_line(state: str) -> None:
            if state.strip():
                file.write(f"{state.strip()}\n")
                file.flush()

        return write_line

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        self.leave = self.leave and kind is None
        super().__exit__(kind, *details)


class Progress:
    """The progress bars of one preparation (none if `quiet`) and its stages' wall-clock seconds."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}

    def bar(self, stage: str, **options: Any) -> tqdm[Any]:
        """Make a tqdm bar that is labelled with the stage; `options` are tqdm's."""
        interval = 0.2 if sys.stderr.isatty() else LOG_SECONDS
        return _Bar(
            desc=stage,
            disable=self.quiet,
            mininterval=interval,
            delay=interval,
            dynamic_ncols=True,
            **options,
        )

    def say_waiting(self) -> None:
        """Say that another process holds the lock that this one waits for."""
        if not self.quiet:
            print("waiting for another process that prepares this corpus", file=sys.stderr)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note the wall-clock seconds of the `with` block as those of stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started
