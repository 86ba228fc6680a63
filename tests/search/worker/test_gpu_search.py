"""`tests/benchmarks/gpu/ray_search.py` with a stand-in for the search, cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"
SEARCH = """
import signal, sys, time
from pathlib import Path
words = sys.argv[1:]
folder = Path(words[words.index("--out") + 1], "experiments", words[words.index("--name") + 1])
folder.mkdir(parents=True)
(folder / "experiment.json").write_text("{}")
home = folder / "checkpoints" / "trial"
home.mkdir(parents=True)
(home / "final.pt").write_text("weights")
(home / "error.log").write_text("Traceback")
def end(*_):
    (folder / "end.md").write_text("in order")
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
print("under way", flush=True)
time.sleep(60)
"""
CODE = """
import sys
from pathlib import Path
import ray_search
ray_search.ROOT = Path(sys.argv.pop(1))
sys.exit(ray_search.main())
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "search").mkdir()
    (folder / "search" / "run.py").write_text(SEARCH)
    command = [sys.executable, "-c", CODE, str(folder), "--out", str(folder), *words]
    variables = os.environ | {"PYTHONPATH": str(FOLDER)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)


def test_a_search_that_is_cut_short_leaves_what_it_has(tmp_path: Path) -> None:
    told, archive = tmp_path / "told.json", tmp_path / "search.tar.gz"
    with start(tmp_path, "--json", str(told), "--tar", str(archive)) as process:
        assert process.stdout is not None and process.stdout.readline() == "under way\n"
        for _ in range(2):  # as `timeout` does: to the process, and to its group
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(told.read_text()) == {"status": "cut short", "trials": []}
    with tarfile.open(archive) as tar:
        names = [Path(name).name for name in tar.getnames()]
    assert names == ["error.log", "end.md", "experiment.json"]


def test_a_search_ends_in_order_also_when_what_started_it_is_killed(tmp_path: Path) -> None:
    """Else it would keep the GPU."""
    with start(tmp_path) as process:
        assert process.stdout is not None and process.stdout.readline() == "under way\n"
        process.kill()
        assert process.stdout.read() == ""  # until the search, which has it too, has ended
    [folder] = (tmp_path / "experiments").iterdir()
    assert (folder / "end.md").read_text() == "in order"
