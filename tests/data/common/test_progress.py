"""The bars of a preparation where there is no terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from minigpt_search.data.common import progress


def test_in_a_log_a_bar_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    with progress.Progress().bar("tokens", total=3) as bar:
        for _ in range(3):
            time.sleep(0.06)
            bar.update()
    assert "\r" not in log.getvalue()
    lines = log.getvalue().split("\n")
    assert len(lines) >= 3
    assert all(line.startswith("tokens: ") for line in lines if line)
