"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` when the block ends without an exception.

    After a kill at any moment `path` is the old or the new one, and at most a temporary file
    `NAME.RANDOM.tmp` lies beside it; after an exception (a full disk, say) not even that.
    """
    # Several may write `path` at once: a worker of a killed driver may live on for a few seconds,
    # and Ray starts a task again whose node it lost sight of, where a process may have the same id.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def only_process(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `path` for the block, and leave no file behind. If another process holds it,
    `busy` is called, which may raise; if it doesn't, wait."""
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


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock `path`, as `only_process` does. The file is neither made nor
    taken away."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
