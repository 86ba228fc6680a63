"""Text is read and written in an encoding that is named: that of the terminal may be ASCII.

ruff's own rule (PLW1514) doesn't see methods of a path that comes from elsewhere.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("data", "model", "search", "reports", "src/minigpt_search")
OPENING = {"open": 1, "fdopen": 1, "NamedTemporaryFile": 0, "TemporaryFile": 0}
"""Functions that open, with their mode's place among the arguments. A method has it one before."""


def in_the_terminals_encoding(source: str) -> list[int]:
    """The lines of calls that read or write text and name no encoding."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _is_text(call) and not _names_encoding(call)]


def _names_encoding(call: ast.Call) -> bool:
    """By name; or anything that is passed on as `**options`."""
    return any(keyword.arg in ("encoding", None) for keyword in call.keywords)


def _is_text(call: ast.Call) -> bool:
    method = isinstance(call.func, ast.Attribute)
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    if name in ("read_text", "write_text", "TextIOWrapper"):
        # The first argument of reading is the encoding.
        return not (name == "read_text" and call.args)
    if name in ("run", "Popen", "check_output"):  # subprocess
        flags = {k.arg for k in call.keywords if getattr(k.value, "value", None) is True}
        return bool(flags & {"text", "universal_newlines"})
    if name not in OPENING:
        return False
    whole = ast.unparse(call.func)
    if whole.startswith(("Image.", "tarfile.", "zipfile.", "webbrowser.")):
        return False
    compressed = whole.split(".")[0] in ("gzip", "bz2", "lzma")
    place = OPENING[name] - (method and not compressed and name == "open" and whole != "io.open")
    modes = [k.value for k in call.keywords if k.arg == "mode"] + call.args[place : place + 1]
    mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else None
    if mode is None and (modes or name.endswith("File") or compressed):
        return False  # bytes unless it is told, or not known here
    return "b" not in (mode or "r") and not (compressed and "t" not in str(mode))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_names_its_encoding(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in in_the_terminals_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("path.read_text()", False),
        ("path.write_text(x)", False),
        ("path.read_text('utf-8')", True),
        ("path.write_text(x, encoding='utf-8')", True),
        ("open(x)", False),
        ("open(x, 'rb')", True),
        ("path.open('w')", False),
        ("path.open('ab')", True),
        ("gzip.open(x)", True),
        ("gzip.open(x, 'rt')", False),
        ("subprocess.run(x, text=True)", False),
        ("subprocess.run(x, text=True, encoding='utf-8')", True),
        ("NamedTemporaryFile()", True),
        ("NamedTemporaryFile('w')", False),
    ],
)
def test_what_is_found(call: str, named: bool) -> None:
    assert (in_the_terminals_encoding(call) == []) is named
