"""The live page over HTTP, on this machine alone: the page and its state, nothing else.

Whoever has an account on this machine can read it, as they could a file that is readable by all;
a page of another site can't: a request must name this machine as its host, which one by a name
that was made to lead here (DNS rebinding) doesn't, and answers are for the same origin only.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from minigpt_search.reports.live.page import page_html, page_policy

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
IDLE_SECONDS = 10
"""Until a connection that asks for nothing is closed."""


class LiveServer(ThreadingHTTPServer):
    """Serves the page, and what `state` returns."""

    daemon_threads = True

    def __init__(
        self,
        state: Callable[[], dict[str, Any]],
        port: int = 0,
        listening: socket.socket | None = None,
    ) -> None:
        """`port` 0 is a free one. `listening` is a socket that another process has bound. Raises
        `OSError` where the port can't be had."""
        super().__init__((ADDRESS, port), _Handler, bind_and_activate=listening is None)
        if listening is not None:
            self.socket.close()
            self.socket = listening
            self.server_address = listening.getsockname()
        self.state = state
        self.told_the_end = threading.Event()
        """Set when a reader was told that the search is over."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a reader that goes away in the middle is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    timeout = IDLE_SECONDS
    server_version, sys_version = "minigpt-search", ""

    def do_GET(self) -> None:
        if self.headers.get("Host") not in {f"{host}:{self.server.port}" for host in HOSTS}:
            self._answer(421, "text/plain", b"This page is for this machine alone.\n")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, "text/html", page_html().encode())
        elif path == "/state.json":
            state = self.server.state()
            self._answer(200, "application/json", json.dumps(state, allow_nan=False).encode())
            if state["over"]:
                self.server.told_the_end.set()
        else:
            self._answer(404, "text/plain", b"There is / and /state.json.\n")

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", page_policy()),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the search's."""
