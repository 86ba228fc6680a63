"""Step checkpoints on their way to the storage, behind the training's back.

One thread, one file at a time, and of each trial at most one that waits: a newer one takes its
place, at the queue's end. So files of different trials go in the order they were written, and a
trunk's checkpoint is never there before the branch that left it earlier.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path


class Uploads:
    """Calls `put` with each file, in a thread of its own."""

    def __init__(self, put: Callable[[Path], None]) -> None:
        self._put = put
        self._waiting: dict[str, Path] = {}
        """By the trial's folder name, in the order they go."""
        self._busy: str | None = None
        self._error: Exception | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, path: Path) -> None:
        """Upload `path` soon. Raises what an earlier upload raised."""
        with self._changed:
            self._raise_error()
            self._waiting.pop(path.parent.name, None)
            self._waiting[path.parent.name] = path
            self._changed.notify_all()

    def drop(self, trial: str) -> None:
        """Forget what waits of this trial; come back when nothing of it is under way."""
        with self._changed:
            self._waiting.pop(trial, None)
            self._changed.wait_for(lambda: self._busy != trial)

    def flush(self) -> None:
        """Come back when all is there. Raises what an upload raised."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and self._busy is None)
            self._raise_error()

    def close(self) -> None:
        """Upload no more; come back when none is under way."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                self._busy = next(iter(self._waiting))
                path = self._waiting.pop(self._busy)
            try:
                self._put(path)
            except FileNotFoundError:  # two newer ones are there, and it was deleted
                pass
            except Exception as error:  # noqa: BLE001 - raised again where somebody waits
                with self._changed:
                    self._error = error
                    self._waiting.clear()
