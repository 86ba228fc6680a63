"""The process of a logger, as the search sees it: something that takes messages, or doesn't.

A library that hangs, prints, raises, is out of memory or waits at its end does so in a process of
its own. Messages are lines of JSON in its pipe, which is never waited for: what the process doesn't
take waits here, up to MOST_BYTES, and what is beyond them is left out, and counted.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from minigpt_search.data.common.errors import one_line
from minigpt_search.data.common.package import package_folder

FOLDER = "loggers"
"""In an experiment's folder: what each library printed, and which trials it has to the end."""
MOST_BYTES = 4_000_000
"""Of messages that wait: some 20,000 points."""
END_SECONDS = 30.0
"""The most that the end of a search waits, after its answer, for the last messages to be taken."""
_CHILD = "minigpt_search.search.loggers.child"


class LoggerProcess:
    """One logger's process. Nothing here raises, and nothing but `close` waits for it."""

    def __init__(self, logger: str, folder: Path) -> None:
        """
        Args:
            logger: its name, one of `search.records.plan.LOGGERS`.
            folder: the experiment's.
        """
        self.logger, self.folder = logger, folder / FOLDER
        self.log = self.folder / f"{logger}.log"
        self.dropped = 0
        self.lost: str | None = None
        """Why it takes nothing any more."""
        self._pending = bytearray()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin. Its library is imported there, beside whatever goes on here."""
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
        try:
            with self._log_file() as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", _CHILD, self.logger],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    start_new_session=True,  # Ctrl-C is the search's: what has ended is still sent
                    env=_environment(),
                )
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
        except OSError as error:
            self._lose(f"its process can't be started ({error.strerror})")

    def send(self, message: Mapping[str, Any]) -> None:
        """Have the process take the message when it comes to it."""
        if self.lost is not None:
            return
        line = json.dumps(message).encode() + b"\n"
        if len(self._pending) + len(line) > MOST_BYTES:
            if self.dropped == 0:
                self._say("doesn't keep up: messages are left out")
            self.dropped += 1
            return
        self._pending += line
        self._write()

    def hang_up(self) -> None:
        """Say that nothing more will come, if all is taken by now."""
        if not self._pending and self._process is not None:
            _close(self._process.stdin)

    def close(self, until: float) -> None:
        """Wait until everything is taken and the process has ended, or till the moment `until`, in
        seconds of `time.monotonic`; then end it."""
        process = self._process
        if process is None:
            return
        try:
            self._drain(process, until)
            self._wait(process, until)
            if process.returncode != 0:
                self._lose(self._last_words())
        except subprocess.TimeoutExpired:
            self._lose(f"it did not end within {END_SECONDS:g} s after the search")
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever its library started, too
            process.wait()
            _close(process.stdin)
            _close(process.stdout)
            self._process = None

    def _drain(self, process: subprocess.Popen[bytes], until: float) -> None:
        assert process.stdin is not None
        while self._pending and self.lost is None and time.monotonic() < until:
            select.select([], [process.stdin], [], max(0.0, until - time.monotonic()))
            self._write()
        _close(process.stdin)

    def _wait(self, process: subprocess.Popen[bytes], until: float) -> None:
        """Raises `TimeoutExpired`. After a second it is said what is waited for."""
        left = max(0.0, until - time.monotonic())
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(1.0, left))
            return
        if left > 1.0:
            self._say(f"has not taken everything yet: {left:.0f} s are waited for it at most")
        process.wait(max(0.0, until - time.monotonic()))

    def _write(self) -> None:
        while self._pending and self.lost is None and self._process is not None:
            assert self._process.stdin is not None
            try:
                taken = os.write(self._process.stdin.fileno(), self._pending[:65536])
            except BlockingIOError:
                return
            except OSError:  # it has ended
                self._lose(self._last_words())
                return
            del self._pending[:taken]

    def _last_words(self) -> str:
        """Why the process ended: the line that it wrote before, if it came to that."""
        assert self._process is not None and self._process.stdout is not None
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.wait(0.5)  # it is about to be gone: its pipe is
        said = b""
        with suppress(OSError):
            said = os.read(self._process.stdout.fileno(), 65536)
        status = self._process.returncode
        return said.decode(errors="replace").strip() or f"its process ended with status {status}"

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._pending.clear()
            name = self.folder.parent.name
            rest = f"the search goes on without, --resume {name} sends what is missing"
            self._say(f"takes nothing more: {reason}; {rest}")

    def _say(self, text: str) -> None:
        line = one_line(f"{self.logger} {text} (see {self.log})")
        tqdm.write(f"  {line}", file=sys.stderr)
        with suppress(OSError), self.log.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{line}\n")

    def _log_file(self) -> IO[bytes]:
        try:
            return self.log.open("ab")
        except OSError:
            return open(os.devnull, "ab")


def _environment() -> dict[str, str]:
    """The process imports this project from where the search did."""
    paths = [str(package_folder().parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with suppress(OSError):
            stream.close()
