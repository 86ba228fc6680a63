"""`run --help` fits two screens, and docs/flags.md has every flag at length."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from minigpt_search.__main__ import _ABOUT, _parser
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.space.axes import OFFERED

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_help_fits_two_screens_of_50_lines_and_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = make_parser().format_help().splitlines()
    assert len(lines) <= 100
    assert [line for line in lines[1:] if len(line) > 80] == []  # the first names the program


@pytest.mark.parametrize("columns", [1, 40, 60, 80, 100])
@pytest.mark.parametrize("command", [None, *_ABOUT])
def test_help_breaks_between_words_at_any_width(
    command: str | None, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a list of values after a comma: examples and what is laid out by hand, too."""
    parser = _parser()
    if command is not None:
        module, function = _ABOUT[command].parser.split(":")
        parser = getattr(importlib.import_module(f"minigpt_search.{module}"), function)()
    texts = {}
    for width in (250, columns):
        monkeypatch.setenv("COLUMNS", str(width))
        texts[width] = parser.format_help()
    pieces = [text.replace(" \\\n", "\n").replace(",", ", ").split() for text in texts.values()]
    assert pieces[0] == pieces[1]
    lines = [line for line in texts[columns].splitlines() if len(line) > max(40, columns)]
    assert [line for line in lines if len(line.split()) > 1] == []


def test_every_flag_is_in_the_table_and_no_other() -> None:
    text = (DOCS / "flags.md").read_text()
    rows = re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE)
    flags = {flag for action in make_parser()._actions for flag in action.option_strings}
    long_flags = {flag for flag in flags if flag.startswith("--") and not flag.startswith("--no-")}
    assert set(rows) == long_flags and len(rows) == len(set(rows))


def test_the_table_has_the_axes_and_defaults_of_the_program() -> None:
    text = (DOCS / "flags.md").read_text()
    for axis in OFFERED.values():
        assert f"`{axis.name}`" in text
        if axis.has_flag:
            [row] = [line for line in text.splitlines() if line.startswith(f"| `{axis.flag} ")]
            assert ",".join(f"{value:g}" for value in axis.grid) in row
            assert f"a sampler {axis.low:g},{axis.high:g}" in row
