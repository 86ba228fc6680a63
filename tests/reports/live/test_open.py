"""`run --open`: the page beside a search, as a process of its own."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli import live_page
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning.plan_text import watch_lines


def test_the_page_is_served_while_the_search_runs_and_ends_with_it(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, ledger = build.two_rates()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    started = []
    popen = live_page.subprocess.Popen

    def noted(*words: Any, **how: Any) -> Any:
        started.append(popen(*words, **how))
        return started[-1]

    monkeypatch.setattr(live_page.subprocess, "Popen", noted)
    with live_page.live_page(0, experiment, ledger.path.parent) as address:
        assert address is not None
        assert watch_lines(experiment, ledger.path.parent, address)[0] == f"Watch      {address}"
        # at once: what is asked before the process is there waits for it
        with urllib.request.urlopen(f"{address}state.json", timeout=60) as answer:
            assert json.load(answer)["over"] is True
        assert started[0].poll() is None
    assert started[0].wait(30) == 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(address.split(":")[2].strip("/"))), 1)


def test_a_search_goes_on_without_a_page(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    experiment, ledger = build.two_rates()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        live_page.live_page(taken.getsockname()[1], experiment, ledger.path.parent) as address,
    ):
        assert address is None
    said = capsys.readouterr().out
    assert said.startswith("Note       --open: no live page on port") and "in use" in said


def test_a_page_that_broke_is_said_at_the_end(
    build: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, ledger = build.two_rates()
    elsewhere = ledger.path.parents[3] / "nowhere" / "experiments" / experiment.name
    with live_page.live_page(0, experiment, elsewhere) as address:
        assert address is not None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # until it refused what isn't there
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.split(":")[2].strip("/")))):
                    break
            time.sleep(0.05)
        time.sleep(0.5)
    assert "the live page ended early, with status 2" in capsys.readouterr().out


def test_ports_that_are_none() -> None:
    given = make_parser().parse_args(["--grid", "lr", "--open", "99999"])
    with pytest.raises(UserError, match="--open 99999: give a port from 1 to 65535"):
        check_options(given)
    assert make_parser().parse_args(["--grid", "lr", "--open"]).open == 0
    assert make_parser().parse_args(["--grid", "lr"]).open is None
    check_options(make_parser().parse_args(["--resume", "x", "--open"]))
