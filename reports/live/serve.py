"""`python reports/generate.py --watch`: the live page of one search, until Ctrl-C.

`search/run.py --open` starts the same command with a socket that it has bound: then the page ends
with the search.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.invocation import needed_out
from minigpt_search.reports.live.server import ADDRESS, LiveServer
from minigpt_search.reports.live.state import LiveState
from minigpt_search.search.records.experiment import read_experiment

LAST_WORD_SECONDS = 5.0
"""After the end of `run --open`, for an open page to ask once more."""
NICE = 10
"""Of the page beside a search: trials go first."""


def serve(folder: Path, options: argparse.Namespace) -> int:
    """Serve the page of the experiment in `folder` until Ctrl-C, or until the search that started
    this process ends. Raises `UserError` for a port that can't be had."""
    read_experiment(folder)  # refused here, not on a page
    state = LiveState(folder, needed_out(folder.parents[1]), options.skip_damaged)
    listening = None if options.socket is None else socket.socket(fileno=options.socket)
    try:
        server = LiveServer(state.now, options.port or 0, listening)
    except OSError as error:
        raise UserError(f"--port {options.port}: {ADDRESS}, {error.strerror}") from None
    with server:
        threading.Thread(target=server.serve_forever, name="live page", daemon=True).start()
        if listening is None:
            print(f"Live page  {server.url} (Ctrl-C ends it, not the search)", flush=True)
        if options.open and has_display():
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            if listening is None:
                threading.Event().wait()
            else:
                os.nice(NICE)
                sys.stdin.buffer.read()  # the search's process has the other end: it is gone
                server.told_the_end.wait(LAST_WORD_SECONDS)
        server.shutdown()
    return 0


def has_display() -> bool:
    """Whether there is a screen for a browser's window: without one a text browser would come up in
    the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
