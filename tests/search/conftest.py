"""A small corpus of prose, prepared once, and the commands run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data.corpus import CorpusSpec, prepare_corpus

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def search_root(
    tmp_path_factory: pytest.TempPathFactory,
    shared_home: Path,
    make_prose: Callable[..., str],
) -> Path:
    """A root with the corpus `small`: about 9,000 training tokens of made prose."""
    root = tmp_path_factory.mktemp("search")
    (root / "downloads").symlink_to(shared_home / "downloads", target_is_directory=True)
    text = root / "prose.txt"
    text.write_text("\n<|endoftext|>\n".join(make_prose(number) for number in range(40)))
    spec = CorpusSpec(name="small", sources=(str(text),), eval_tokens=700)
    prepare_corpus(spec, root, quiet=True)
    return root


@pytest.fixture(scope="session")
def command_of(search_root: Path) -> Callable[..., list[str]]:
    """The command line of one of the project's scripts, on `search_root`."""

    def command(script: str, *words: str) -> list[str]:
        return [sys.executable, str(CHECKOUT / script), *words, "--out", str(search_root)]

    return command


@pytest.fixture(scope="session")
def run_script(
    command_of: Callable[..., list[str]], search_root: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script to its end, from another folder than the checkout."""

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_of(script, *words),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=search_root,
            env={k: v for k, v in os.environ.items() if k != "MINIGPT_HOME"},
        )

    return run
