"""Printed commands have the form that was used, and find their root from any folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from minigpt_search.data.common.invocation import (
    SUBCOMMANDS,
    command_line,
    needed_out,
    recorded_command,
)
from minigpt_search.data.common.package import source_files

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """One where `python` is this interpreter and no root is named."""
    monkeypatch.delenv("MINIGPT_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(sys, "executable", "/bin/python")
    monkeypatch.setattr(sys, "argv", ["search/run.py"])


def test_in_the_checkout_a_script_has_its_short_name_and_finds_its_own_artifacts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(CHECKOUT)
    said = command_line("search/run.py", "--resume", "x", root=CHECKOUT / "artifacts")
    assert said == "python search/run.py --resume x"
    assert command_line("search/rerun.py", root=tmp_path).endswith(f" --out {tmp_path}")
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    assert command_line("search/rerun.py", "x y", root=tmp_path) == "python search/rerun.py 'x y'"


def test_from_elsewhere_a_script_has_its_whole_path_and_needs_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = tmp_path / "it's ünï"
    odd.mkdir()
    monkeypatch.chdir(odd)
    said = command_line("model/generate.py", "a b", root=odd / "artifacts")
    script = str(CHECKOUT / "model" / "generate.py")
    assert shlex.split(said) == ["python", script, "a b", "--out", str(odd / "artifacts")]
    monkeypatch.setenv("MINIGPT_HOME", str(odd))
    assert needed_out(odd) is None
    monkeypatch.setenv("MINIGPT_HOME", "here")  # another folder's is another
    assert needed_out(odd / "here") == str(odd / "here")


@pytest.mark.parametrize(
    ("called", "words"),
    [
        ("/bin/minigpt-search", "minigpt-search"),
        ("/venv/bin/minigpt-search", "/venv/bin/minigpt-search"),  # not the one of the PATH
        ("/site/minigpt_search/__main__.py", "python -m minigpt_search"),
    ],
)
def test_the_installed_command_is_repeated_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, called: str, words: str
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "run", "--grid", "lr"])
    monkeypatch.chdir(CHECKOUT)
    assert command_line("reports/generate.py", "x") == f"{words} report x"
    assert needed_out(CHECKOUT / "artifacts") == str(CHECKOUT / "artifacts")


def test_an_interpreter_that_the_path_has_not_is_named_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/my venv/bin/python")
    assert command_line("search/run.py").startswith("'/my venv/bin/python' ")


def test_a_recorded_command_is_of_any_machine() -> None:
    assert recorded_command(["search/run.py", "--name", "a b"]) == (
        "python search/run.py --name 'a b'"
    )


def test_every_script_has_a_subcommand_and_is_there() -> None:
    for script in SUBCOMMANDS:
        assert script in source_files(script)
