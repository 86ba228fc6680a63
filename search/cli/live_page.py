"""`--open`: the live page of a search beside it, as a process of its own that ends with it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minigpt_search.data.common.invocation import needed_out, program
from minigpt_search.search.records.experiment import Experiment

ADDRESS = "127.0.0.1"


@contextmanager
def live_page(port: int | None, experiment: Experiment, folder: Path) -> Iterator[str | None]:
    """The page's address while the block runs; None without `--open` (`port` is None), or where
    there can be none, which is said: the search needs none. Port 0 is a free one.

    The socket is bound here, so that the address is known at once; what serves it is `--watch`'s
    command. It has no part in Ctrl-C, and sees by its standard input that this process is gone,
    also after a kill.
    """
    if port is None:
        yield None
        return
    try:
        with socket.create_server((ADDRESS, port)) as listening:
            page = _start(listening, experiment, folder)
            address = f"http://{ADDRESS}:{listening.getsockname()[1]}/"
    except OSError as error:
        print(
            f"Note       --open: no live page on port {port} ({error.strerror}); the search goes on"
        )
        yield None
        return
    try:
        yield address
    finally:
        if page.poll() is not None:
            again = "see it with reports/generate.py --watch"
            print(f"Note       the live page ended early, with status {page.returncode}; {again}")
        with suppress(OSError):
            assert page.stdin is not None
            page.stdin.close()  # it goes when an open page has asked once more


def _start(
    listening: socket.socket, experiment: Experiment, folder: Path
) -> subprocess.Popen[bytes]:
    words = [experiment.name, "--watch", "--open", "--socket", str(listening.fileno())]
    out = needed_out(folder.parents[1])
    return subprocess.Popen(
        [*_here(program("reports/generate.py")), *words, *(["--out", out] if out else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[listening.fileno()],
        start_new_session=True,
    )


def _here(command: list[str]) -> list[str]:
    """The command by this interpreter: `python` may be another's name by now."""
    return [sys.executable, *command[1:]] if command[0].startswith("python") else command
