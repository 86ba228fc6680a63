"""`run --open`: what a page gets from a real search, from its start to its end."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

SMALL = ("--corpus", "small", "--embed-dim", "16", "--epochs", "6", "--tokens-per-epoch", "4096")


def test_a_page_sees_a_search_from_its_start_to_its_end(
    command_of: Callable[..., list[str]],
) -> None:
    command = command_of("search/run.py", "--grid", "lr", "--lr", "1e-3,2e-3", *SMALL)
    with subprocess.Popen(
        [*command, "--name", "seen-live", "--open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as search:
        assert search.stdout is not None
        url = next(line.split()[1] for line in search.stdout if line.startswith("Watch"))
        states: list[dict[str, Any]] = []
        while not (states and states[-1]["over"]):
            with urllib.request.urlopen(f"{url}state.json", timeout=60) as answer:
                states.append(json.load(answer))
            time.sleep(0.2)
        rest = search.stdout.read()
    assert search.returncode == 0 and "live page ended" not in rest
    running = [state for state in states if state["running"]]
    assert any(each["train"] for state in running for each in state["series"])
    assert any(0 < state["share"] < 1 and state["speed"] for state in running)
    final = states[-1]
    assert (final["state"], len(final["rows"]), len(final["series"])) == ("complete", 2, 2)
    assert final["answer"][0][0] == "Use" and "reports/generate.py seen-live" in final["command"]
