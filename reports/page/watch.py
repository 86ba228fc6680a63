"""`python reports/generate.py --watch --file`: the report is written again whenever the ledger
grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 2.0
REFRESH_SECONDS = 5
"""How often an open page loads itself again while the search runs."""


def watch(
    ledger: Path,
    write: Callable[[int | None], bool],
    sleep: Callable[[float], None] = time.sleep,
    *,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Call `write` at each change of `ledger` until it says that the search is complete, or until
    Ctrl-C; then once more, for a page that stays as it is.

    Args:
        write: makes the report, given the seconds between a page's refreshes or None; returns
            whether all planned trials have ended.
        look: is called every two seconds, and once at the end.
    """
    seen: tuple[int, int] | None = (-1, -1)
    try:
        while True:
            look()
            now = _stamp(ledger)
            if now != seen:
                seen = now
                if write(REFRESH_SECONDS):
                    break
            sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        pass
    look()
    write(None)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
