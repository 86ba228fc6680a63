"""A copy of the checkout without its links runs the code that its user sees and edits."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt_search.data.common.package import ROOMS, package_folder, package_to_send

REPOSITORY = Path(__file__).resolve().parents[3]
SEND = "from minigpt_search.data.common.package import package_to_send; package_to_send()"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """As `git clone -c core.symlinks=false` makes it: a link is a file with its target's path."""
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / room, tmp_path / room, ignore=ignored)
    (tmp_path / "src" / "minigpt_search").mkdir(parents=True)
    shutil.copy(package_folder() / "__init__.py", tmp_path / "src" / "minigpt_search")
    for room in ROOMS:
        (tmp_path / "src" / "minigpt_search" / room).write_text(f"../../{room}")
    return tmp_path


def run(copy: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(copy / "src")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_files_or_folders_in_place_of_the_links_are_passed_over(copy: Path) -> None:
    (copy / "data" / "common" / "mark.py").write_text("WHERE = 'checkout'\n")
    code = "from minigpt_search.data.common.mark import WHERE; print(WHERE)"
    assert run(copy, code).stdout == "checkout\n"
    for room in ROOMS:  # as `scp -r` copies
        (copy / "src" / "minigpt_search" / room).unlink()
        shutil.copytree(copy / room, copy / "src" / "minigpt_search" / room)
    (copy / "data" / "common" / "mark.py").write_text("WHERE = 'edited'\n")
    assert run(copy, code).stdout == "edited\n"


def test_other_code_than_that_which_runs_does_not_travel(copy: Path) -> None:
    assert package_to_send() == package_folder()
    said = run(copy, SEND).stderr.splitlines()[-1]
    assert "UserError" in said and "must have links" in said
    for room in ROOMS:
        (copy / "src" / "minigpt_search" / room).unlink()
        shutil.copytree(copy / room, copy / "src" / "minigpt_search" / room)
    assert run(copy, SEND).returncode == 0  # copies of the same, as a submitted job has them
    (copy / "model" / "config.py").write_text("x = 1\n")
    assert "model/config.py" in run(copy, SEND).stderr


def test_what_the_benchmarks_import_is_there() -> None:
    """They are run by hand, so that a name that has gone would be noticed late."""
    missing = []
    for path in (Path(__file__).parents[2] / "benchmarks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if isinstance(node, ast.ImportFrom) and module.startswith("minigpt_search"):
                gone = [each.name for each in node.names if not _is_there(module, each.name)]
                missing += [f"{path.name}: {module}.{name}" for name in gone]
    assert missing == []


def _is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.util.find_spec(f"{module}.{name}")
        )
    except ImportError as error:
        if (error.name or "").startswith("minigpt_search"):
            return False
    spec = importlib.util.find_spec(module)  # what it needs is not here, as Triton on a CPU
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    return name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
