"""One progress bar for each stage on standard error, and the seconds that each stage took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 10.0
"""Between updates when standard error is a file: a log with a line each 0.1 s is of no use."""


class _Bar(tqdm):
    """Leaves nothing on the screen when what it counts fails: the error is one line."""

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        self.leave = self.leave and kind is None
        super().__exit__(kind, *details)


class Progress:
    """Bars (none if `quiet`) and stage times of one preparation."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}

    def bar(self, stage: str, **options: Any) -> tqdm[Any]:
        """A tqdm bar; `options` as for tqdm."""
        interval = 0.2 if sys.stderr.isatty() else LOG_SECONDS
        return _Bar(
            desc=stage,
            disable=self.quiet,
            mininterval=interval,
            delay=interval,
            dynamic_ncols=True,
            **options,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note the wall-clock seconds of the `with` block as those of stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started
