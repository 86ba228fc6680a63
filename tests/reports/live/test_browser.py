"""The live page in a real browser, where there is one: Chromium without a window."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.reports.live.page import write_page
from minigpt_search.reports.live.server import LiveServer, _Handler

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page is untested")

STATE: dict[str, Any] = {
    "name": "<b>hostile</b>",
    "state": "running",
    "words": "1 trial training now.",
    "command": None,
    "over": False,
    "begun": "2026-11-29 18:00 UTC",
    "counted": "0 of 2 trials finished",
    "share": 0.125,
    "ends_at": None,
    "speed": "20.0 steps/s",
    "predicted": None,
    "running": [
        {
            "id": "a",
            "label": "lr=0.001 <i>",
            "step": 30,
            "total_steps": 300,
            "train": 7.0,
            "val": None,
        }
    ],
    "more_running": 0,
    "rows": [],
    "more_rows": 0,
    "series": [],
    "more_series": 0,
    "counting": [{"name": "a bigram table", "loss": 6.5}],
    "answer": [],
}


def grown(points: int) -> dict[str, Any]:
    """The state when the one trial has so many points; at ten the search is over."""
    state = copy.deepcopy(STATE)
    state["running"][0]["step"] = 30 * points
    train = [[1000 * n, 7.5 - 0.2 * n] for n in range(1, points + 1)]
    state["series"] = [
        {
            "id": "a",
            "label": "lr=0.001 <i>",
            "state": "running",
            "best": False,
            "train": train,
            "val": train[4:5],
            "loss": None,
            "colour": 0,
        }
    ]
    if points >= 10:
        state |= {"over": True, "state": "complete", "words": "The search has ended.", "share": 1.0}
    return state


def test_curves_grow_without_a_reload_until_the_search_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, paths = iter(range(2, 100, 4)), []
    do_get = _Handler.do_GET

    def noted(handler: _Handler) -> None:
        paths.append(handler.path)
        do_get(handler)

    monkeypatch.setattr(_Handler, "do_GET", noted)
    with LiveServer(lambda: grown(min(10, next(asked)))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        dom, log = _dump(server.url, tmp_path)
        server.shutdown()
    assert paths == ["/", "/state.json", "/state.json", "/state.json"]
    assert "CONSOLE" not in log
    assert "<b>hostile" not in dom and "&lt;b&gt;hostile&lt;/b&gt;</h1>" in dom
    assert re.search(r'id="words"[^>]*>The search has ended\.<', dom)
    assert ">300 of 300<" in dom and ">lr=0.001 &lt;i&gt;<" in dom
    (train,) = re.findall(r'class="curve train k0" d="(M[^"]+)"', dom)
    assert train.count("L") == 9 and dom.count('class="dot k0"') == 1
    assert ">a bigram table 6.50<" in dom


def test_as_a_file_it_needs_no_server(tmp_path: Path) -> None:
    page = write_page(tmp_path / "report", grown(10))
    assert {path.name for path in page.parent.iterdir()} == {"live.html", "live-state.js"}
    dom, log = _dump(page.as_uri(), tmp_path / "profile")
    assert "CONSOLE" not in log
    assert "&lt;b&gt;hostile&lt;/b&gt;</h1>" in dom and "<b>hostile" not in dom
    assert re.search(r'id="words"[^>]*>The search has ended\.<', dom)


def _dump(url: str, profile: Path) -> tuple[str, str]:
    """The page's elements after some seconds of its own time, and what the browser logged."""
    assert CHROMIUM is not None
    flags = ("--headless", "--disable-gpu", "--no-first-run", "--enable-logging=stderr")
    flags += ("--no-sandbox",) if os.geteuid() == 0 else ()
    ended = subprocess.run(
        [
            *(CHROMIUM, *flags, f"--user-data-dir={profile}"),
            *("--virtual-time-budget=9000", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr
