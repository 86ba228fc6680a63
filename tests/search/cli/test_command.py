"""`minigpt-search`: what it imports for `--help`, and that it is each of the scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minigpt_search
from minigpt_search.__main__ import _ABOUT
from minigpt_search.data.common.invocation import SUBCOMMANDS

CHECKOUT = Path(__file__).resolve().parents[3]
HEAVY = {"torch", "ray", "pandas", "optuna", "scipy", "pyarrow", "matplotlib", "tiktoken"}
"""What takes seconds to import, or begins with something that does."""
_MODULES = """
import json, runpy, sys
called, sys.argv = sys.argv[1], sys.argv[2:]
run = runpy.run_path if called == "file" else runpy.run_module
try:
    run(sys.argv[0], run_name="__main__", **({} if called == "file" else {"alter_sys": True}))
except SystemExit as ended:
    print(json.dumps([ended.code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def imported(called: str, *words: str) -> tuple[int, set[str], str]:
    """The exit status, the top-level modules that were imported, and what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, called, *words],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    status, modules = json.loads(last)
    return status, set(modules), "\n".join(said) + done.stderr


@pytest.mark.parametrize("script", SUBCOMMANDS)
def test_help_of_a_script_imports_nothing_that_takes_seconds(script: str) -> None:
    status, modules, said = imported("file", script, "--help")
    assert (status == 0 and said.startswith(f"usage: python {script}")) or "/python" in said
    assert not modules & HEAVY


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), *((name, "--help") for name in _ABOUT)]
)
def test_help_of_the_command_imports_nothing_that_takes_seconds(words: tuple[str, ...]) -> None:
    status, modules, said = imported("module", "minigpt_search", *words)
    assert status == 0 and said
    assert not modules & HEAVY


@pytest.mark.parametrize("words", [("run", "--frobnicate"), ("rerun", "--fast"), ("fly",), ()])
def test_a_mistake_is_said_as_fast(words: tuple[str, ...]) -> None:
    status, modules, said = imported("module", "minigpt_search", *words)
    assert status == 2 and said.startswith("error: ") and said.count("\n") == 1
    assert not modules & HEAVY


def test_every_script_is_a_subcommand() -> None:
    assert set(_ABOUT) == set(SUBCOMMANDS.values())


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, said = imported("module", "minigpt_search", "--version")
    assert said == f"minigpt-search {minigpt_search.__version__}"


def test_what_is_not_there_names_where_else_to_look(
    run_here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIGPT_HOME", raising=False)
    for script, *words in (
        ("search/run.py", "--grid", "lr", "--corpus", "mine"),
        ("search/run.py", "--resume", "mine"),
        ("search/run.py", "--extend", "mine"),
        ("search/rerun.py",),
        ("reports/generate.py",),
        ("reports/generate.py", "a", "b"),
        ("data/prepare.py", "--verify", "--name", "mine"),
    ):
        ended = run_here(script, *words)
        ended.refused("name another root with --out or MINIGPT_HOME")
        assert str(tmp_path / "artifacts") in ended.err
