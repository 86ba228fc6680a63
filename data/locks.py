"""One process at a time: a lock file that the system gives back even after `kill -9`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def only_process(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `path`, and leave no file behind. If it is held, call `busy`, which may raise;
    if it doesn't, wait."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        busy()
        lock.acquire()
    try:
        yield
    finally:
        # While it is held: filelock (from 4.0) sees that a file it waited for has gone, and starts
        # again with a new one.
        path.unlink(missing_ok=True)
        lock.release()
