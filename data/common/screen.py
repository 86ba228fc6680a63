"""The screen, which may go away: `run.py | head`, a `tee` that was killed, a terminal hung up.

A command that only prints ends quietly when its reader has had enough. One with work to do calls
`keep_going`: it goes on without its screen, and a log gets what the screen would have got.
"""

from __future__ import annotations

import datetime
import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from minigpt_search.data.common.folding import columns_of, fold

LOG = "screen.log"
"""The log's name in an experiment's folder. It is there only if the screen was lost."""
_KEPT = 1000
"""Pieces of text that are kept for a log that isn't there yet."""


class ReaderGone(Exception):
    """Nobody reads what is printed any more. Of a command that only prints it is the end."""


class Screen:
    """Standard output and standard error of a process, and what becomes of them when they go."""

    def __init__(self) -> None:
        self.goes_on = False
        self.log: Path | None = None
        self._waiting: list[str] = []

    def lose(self, name: str, fault: OSError, text: str) -> None:
        """The stream called `name` took no more when it was to get `text`. Raises `ReaderGone`, or
        the fault, where nothing is left to do without it."""
        if not self.goes_on:
            if fault.errno == errno.EPIPE:
                raise ReaderGone from None
            raise fault
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.write(f"[{when}: {name} was lost ({fault.strerror}); its text follows here]\n")
        self.write(text)

    def write(self, text: str) -> None:
        """Add to the log; what a bar draws over and over again is left out."""
        if text.startswith("\r"):
            return
        self._waiting = [*self._waiting, text][-_KEPT:]
        if self.log is None:
            return
        # Neither screen nor log: the ledger's own writing says why nothing can be written.
        with suppress(OSError), self.log.open("a", encoding="utf-8", errors="replace") as file:
            file.write("".join(self._waiting))
            self._waiting = []


class _Stream:
    """One of the two, as Python's own but for the moment at which it is lost."""

    def __init__(self, screen: Screen, name: str) -> None:
        """`name`: stdout or stderr."""
        self.screen, self.name = screen, name
        stream: TextIO | None = getattr(sys, name)
        self.lost = stream is None  # as after `>&-`
        self.stream: TextIO = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def write(self, text: str) -> int:
        """Write at once, so that a loss is noticed while the text is still known; on a terminal in
        lines that break between words."""
        if self.lost:
            self.screen.write(text)
            return len(text)
        columns = columns_of(self.stream)
        try:
            self.stream.write(text if columns is None else fold(text, columns))
            self.stream.flush()
        except OSError as fault:
            self.lost = True
            self._drop_the_rest()
            self.screen.lose(self.name, fault, text)
        return len(text)

    def flush(self) -> None:
        """Nothing: `write` did."""

    def _drop_the_rest(self) -> None:
        """Lead the stream to nowhere: Python would try to write its buffer again at the end, and
        so would a process that inherits it."""
        with suppress(OSError, ValueError):  # a stream of a test has no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def isatty(self) -> bool:
        return not self.lost and self.stream.isatty()

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles its callbacks, which print."""
        return _stream, (self.name,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _stream(name: str) -> Any:
    return getattr(sys, name)


@contextmanager
def watched_screen() -> Iterator[None]:
    """Have `sys.stdout` and `sys.stderr` notice for the block that they are lost."""
    _open_missing_descriptors()
    screen, kept = Screen(), (sys.stdout, sys.stderr)
    sys.stdout = cast(TextIO, _Stream(screen, "stdout"))
    sys.stderr = cast(TextIO, _Stream(screen, "stderr"))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def _open_missing_descriptors() -> None:
    """Give a process that was started without standard streams ones that lead nowhere: libraries,
    and processes that are started, count on them, and a file would get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(number, True)


def keep_going(log: Path | None = None) -> None:
    """From now on this process has work to do that doesn't end with its screen, nor with its
    terminal's hang-up (SIGHUP, which the processes that it starts then ignore too).

    `log` gets the text that the screen can't, also what was lost before; give it as soon as its
    folder is there.
    """
    if not isinstance(sys.stdout, _Stream):  # called as a function: the process is another's
        return
    with suppress(ValueError, AttributeError):  # not in the main thread; Windows has none
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    screen = sys.stdout.screen
    screen.goes_on = True
    if log is not None:
        screen.log = log
        if screen._waiting:
            screen.write("")
