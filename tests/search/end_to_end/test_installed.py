"""The installed command and the scripts, in a folder that has a `data/`, a `model.py`, ... of the
user's own; and what they print, pasted into a shell in another folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.model.config import RunConfig
from minigpt_search.search.planning.measure import ProbeProcess, prepare

CHECKOUT = Path(__file__).resolve().parents[3]
SMALL = ("--corpus", "small", "--embed-dim", "16", "--tokens-per-epoch", "4096")
RATES = ("--lr", "1e-3,2e-3", *SMALL)
_CONSOLE = "#!{python}\nimport sys\nfrom minigpt_search.__main__ import main\nsys.exit(main())\n"
"""What pip makes of pyproject.toml's `[project.scripts]`."""


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A user's folder with modules by the names of this project's."""
    folder = tmp_path / "it's ünï"
    folder.mkdir()
    for name in ("data", "reports", "search"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('shadow')")
    for name in ("model", "run", "probe", "measure", "trial", "config"):
        (folder / f"{name}.py").write_text("raise SystemExit('shadow')")
    return folder


@pytest.fixture
def odd_root(tmp_path: Path, search_root: Path) -> Path:
    """The root of these tests by a name with a space, a quote and letters beyond ASCII."""
    link = tmp_path / 'my "roots" é'
    link.symlink_to(search_root, target_is_directory=True)
    return link


def program(form: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The words before a subcommand in this form, and the environment that it needs."""
    environment = {k: v for k, v in os.environ.items() if k != "MINIGPT_HOME"}
    environment["PYTHONPATH"] = str(CHECKOUT / "src")
    if form == "wheel":  # its files, without the checkout
        site = folder / "site"
        shutil.copytree(CHECKOUT / "src" / "minigpt_search", site / "minigpt_search")
        environment["PYTHONPATH"] = str(site)
    if form == "module":
        return [sys.executable, "-m", "minigpt_search"], environment
    (folder / "bin").mkdir()
    command = folder / "bin" / "minigpt-search"
    command.write_text(_CONSOLE.format(python=sys.executable))
    command.chmod(0o755)
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    return [str(command)], environment


@pytest.mark.slow
@pytest.mark.parametrize("form", ["console", "module", "wheel"])
def test_from_a_folder_of_the_users_own_to_a_model_by_what_is_printed(
    form: str,
    own_files: Path,
    odd_root: Path,
    tmp_path: Path,
    leave_speeds: Callable[..., None],
) -> None:
    flags = RATES
    if form == "wheel":  # another shape, whose speed is measured by processes of its own
        flags = ("--lr", "1e-3,2e-3", "--seq-len", "32", *SMALL)
    else:
        leave_speeds(*flags)
    words, environment = program(form, tmp_path)
    if form != "module":  # Python itself puts the working folder in front for -m
        for shadow in ("statistics", "numpy", "torch"):
            (own_files / f"{shadow}.py").write_text("raise SystemExit('shadow')")
    name = f"pasted-{form}"
    begin = [*words, "run"]

    def ended(command: list[str], folder: Path) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def paste(said: str, label: str, *more: str) -> str:
        [line] = re.findall(rf"^{label} +(.+)$", said, re.MULTILINE)
        return ended(["sh", "-c", " ".join([line, *more])], tmp_path)

    said = ended([*begin, *flags, "--name", name, "--out", str(odd_root)], own_files)
    assert "Dry run" in paste(said, "Command", "--dry-run")
    assert "report.html" in paste(said, "Report")
    config = odd_root / "experiments" / name / "experiment.toml"
    again = ended([*begin, "--config", str(config), "--dry-run"], own_files)
    assert "lr = 0.001, 0.002: 2 trials" in again
    rerun = paste(said, "Rerun")
    assert "the same bits" in rerun
    paste(rerun, "Export")
    assert (tmp_path / "exported" / "model.safetensors").is_file()
    assert "The president" in paste(rerun, "Generate", "--tokens", "3")


def test_a_measuring_process_takes_nothing_of_the_working_folders(
    own_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_files)
    with ProbeProcess("cpu", 1) as probe:
        assert prepare([probe], RunConfig().replace(embed_dim=8, n_layers=1, vocab_size=40)) > 0
