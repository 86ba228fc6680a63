"""The live page's server: what it answers, and whom."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.reports import generate
from minigpt_search.reports.live.page import page_html, page_policy
from minigpt_search.reports.live.serve import has_display
from minigpt_search.reports.live.server import LiveServer


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """One that serves a state which isn't over."""
    with LiveServer(lambda: {"name": "</script><b>", "over": False}) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: LiveServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """The answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    host = host or f"127.0.0.1:{server.port}"
    connection.request(method, path, headers={"Host": host})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_it_listens_on_loopback_alone(server: LiveServer) -> None:
    assert server.server_address[0] == "127.0.0.1" and server.url.startswith("http://127.0.0.1:")


def test_the_page_and_its_state(server: LiveServer) -> None:
    answer, content = ask(server, "/")
    assert answer.status == 200 and content.decode() == page_html()
    answer, content = ask(server, "/state.json")
    assert json.loads(content) == {"name": "</script><b>", "over": False}
    assert answer.getheader("Content-Type") == "application/json; charset=utf-8"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert not server.told_the_end.is_set()
    server.state = lambda: {"over": True}
    ask(server, "/state.json")
    assert server.told_the_end.wait(5)  # it is set after the answer has gone


@pytest.mark.parametrize("path", ["/ledger.jsonl", "/../etc/passwd", "/state.json/", "/x?/"])
def test_nothing_else_is_there(server: LiveServer, path: str) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_it_is_only_read(server: LiveServer, method: str) -> None:
    assert ask(server, "/state.json", method)[0].status == 501


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
def test_another_host_is_refused(server: LiveServer, host: str) -> None:
    answer, content = ask(server, "/state.json", host=host)
    assert answer.status == 421 and b"name" not in content
    assert ask(server, "/state.json", host=f"localhost:{server.port}")[0].status == 200


def test_the_policy_allows_the_pages_own_script_and_style_alone() -> None:
    html = page_html()
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page_policy()
    assert "default-src 'none'" in page_policy() and "unsafe" not in page_policy()
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|eval\(|\son\w+=|style=", html)


def test_flags_of_watch_that_dont_go_together(build: Any) -> None:
    build.two_rates()
    wrong = {
        ("--port", "1"): "--port goes with --watch",
        ("--open",): "--open goes with --watch",
        ("--file",): "--file goes with --watch",
        ("--watch", "--file", "--open"): "--open is of the live page",
        ("--watch", "--port", "70000"): "--port 70000: give a number from 1 to 65535",
    }
    for flags, message in wrong.items():
        with pytest.raises(UserError, match=message):
            generate.main([*flags, "--out", str(build.root)])


def test_a_port_that_is_taken_is_refused(build: Any) -> None:
    build.two_rates()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(UserError, match=f"--port {port}: .* in use"):
            generate.main(["--watch", "--port", port, "--out", str(build.root)])


def test_no_browser_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display()
