"""A library that is an extra: said in one line beforehand, and not needed by anything else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common import extras

CHECKOUT = Path(__file__).resolve().parents[3]


def test_each_extra_is_one_of_the_package() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert set(extras.EXTRAS) <= set(project["optional-dependencies"])
    required = " ".join(project["dependencies"])
    assert not [name for name in extras.EXTRAS.values() if name in required]


@pytest.mark.parametrize(
    ("extra", "script", "words", "named"),
    [
        ("html", "data/prepare.py", ("--source", "PAGES"), "page.html.gz: needs the library"),
        ("hub", "data/prepare.py", ("--source", "hub:a/b", "--tokens", "9"), "--source hub:a/b"),
        ("cmaes", "search/run.py", ("--search", "cmaes", "--trials", "3"), "--search cmaes"),
    ],
)
def test_a_missing_one_is_named_and_nothing_is_made(
    extra: str,
    script: str,
    words: tuple[str, ...],
    named: str,
    tmp_path: Path,
    run_here: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(extras.EXTRAS, extra, "no_such_module")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "page.html.gz").touch()
    words = tuple(word.replace("PAGES", str(tmp_path / "pages")) for word in words)
    done = run_here(script, *words, "--out", str(tmp_path / "out"))
    done.refused(named)
    assert f'pip install "minigpt-search[{extra}]"' in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_nothing_else_imports_them() -> None:
    """What the built-in corpus and the main job need is imported without them."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {set(extras.EXTRAS.values())!r}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import minigpt_search.search.run, minigpt_search.data.pipeline.build\n"
        "import minigpt_search.data.cleaning.clean, minigpt_search.data.cleaning.wikitext\n"
        "import minigpt_search.search.samplers.optuna_samplers\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
