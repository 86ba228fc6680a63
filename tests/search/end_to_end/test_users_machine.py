"""A search where nothing but `--out` can be written to, and where nobody looks at its screen."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minigpt_search.data.ray.own_ray import scratches_of
from minigpt_search.search.records.ledger import Ledger

SMALL = ("--corpus", "small", "--embed-dim", "16", "--tokens-per-epoch", "4096")
ONE_TRIAL = ("--grid", "lr", "--lr", "1e-3", "--max-concurrent", "1", "--cpus-per-trial", "1")
# Of root's rights it keeps the one to read: the interpreter may be in root's own home.
READS = "dac_read_search"
UNPRIVILEGED = [
    *("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"),
    *(f"--inh-caps=-all,+{READS}", f"--ambient-caps=+{READS}", "env", "HOME=/"),
]
HOME_FOLDERS = (".ray", ".cache", ".config", ".local")


@pytest.fixture
def user_root(search_root: Path) -> Iterator[Path]:
    """A root of a user without a name, a home or rights."""
    can = os.geteuid() == 0 and shutil.which("setpriv")
    if not can or subprocess.run([*UNPRIVILEGED, "true"], capture_output=True).returncode:
        pytest.skip("only root can become an unprivileged user, with setpriv of util-linux")
    installed = Path(sys.prefix)
    if not all(path.stat().st_mode & stat.S_IXOTH for path in (installed, *installed.parents)):
        pytest.skip(f"alembic asks whether the user itself may see its files in {installed}")
    with tempfile.TemporaryDirectory(prefix="mg-") as folder:  # pytest's are below a closed one
        root = Path(folder)
        shutil.copytree(search_root / "corpus", root / "corpus")
        shutil.copytree((search_root / "downloads").resolve(), root / "downloads")
        for path in [root, *root.rglob("*")]:
            os.chown(path, 1234, 1234)
        yield root


@pytest.mark.slow
def test_a_search_needs_no_home_and_no_reader(
    user_root: Path, command_of: Callable[..., list[str]]
) -> None:
    """Two lines are read, as by `head`; the screen's other lines are in its log."""
    there = [name for name in HOME_FOLDERS if Path("/", name).exists()]
    *words, search_root = command_of("search/run.py", *ONE_TRIAL, *SMALL, "--name", "lr")
    shutil.copy(Path(search_root) / "calibration.json", user_root)  # nothing is measured
    command = [*UNPRIVILEGED, *words, str(user_root)]
    line = f"{shlex.join(command)} 2>&1 | head -2; exit ${{PIPESTATUS[0]}}"
    environment = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_TOKEN"}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=200
    )
    folder = user_root / "experiments" / "lr"
    log = folder / "screen.log"
    said = log.read_text() if log.exists() else ""
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, (
        done.returncode,
        said[-1500:],
    )
    assert len(Ledger(folder / "ledger.jsonl").complete()) == 1
    log = said
    assert "stderr was lost (Broken pipe)" in log and "\nTime  " in log
    assert [name for name in HOME_FOLDERS if Path("/", name).exists()] == there
    assert not scratches_of(str(folder), user_root)
    report = [*command_of("reports/generate.py", "lr")[:-1], str(user_root)]
    done = subprocess.run(
        [*UNPRIVILEGED, *report], capture_output=True, text=True, env=environment, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
