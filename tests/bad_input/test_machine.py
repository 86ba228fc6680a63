"""No space, no permission, no network: one line, and nothing half made is left. Real processes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError, one_line, run_command
from minigpt_search.search.records.ledger import Ledger

CHECKOUT = Path(__file__).resolve().parents[2]
OFFLINE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # nothing listens there
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_RETRIES": "0",
    "PIP_CACHE_DIR": "",
    "PIP_NO_CACHE_DIR": "1",
}


def shell(home: Path, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a shell of its own, after the shell's `before`."""
    command = shlex.join([sys.executable, *words])
    return subprocess.run(
        ["bash", "-c", f"{before}\nexec {command}"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=CHECKOUT,
        env=os.environ | OFFLINE | {"MINIGPT_HOME": str(home)},
    )


def assert_one_line(done: subprocess.CompletedProcess[str], named: str) -> None:
    print(f"\n{shlex.join(done.args)}\n{done.stderr}")
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("Measuring")]
    assert len(said) == 1 and said[0].startswith("error: ")
    assert named in said[0]


def test_no_network(tmp_path: Path) -> None:
    """A search in a new home: it measures, as it does nowhere else in these tests, so one process
    of a small shape."""
    home = tmp_path / "new" / "home"
    words = ("--grid", "lr", "--preset", "quick", "--embed-dim", "8")
    words += ("--max-concurrent", "1", "--cpus-per-trial", "1")
    assert_one_line(shell(home, "search/run.py", *words), "cannot download")
    assert not (tmp_path / "new").exists()


def test_a_search_on_a_full_disk(home: Path) -> None:
    before = sorted(home.rglob("*"))
    words = ("search/run.py", "--grid", "lr", "--corpus", "small", "--name", "full")
    assert_one_line(shell(home, *words, before="ulimit -f 2"), "File too large")
    assert sorted(home.rglob("*")) == before


def test_an_export_and_a_report_on_a_full_disk(home: Path, tmp_path: Path) -> None:
    before = sorted(home.rglob("*"))
    words = ("model/export.py", str(home / "final.pt"), str(tmp_path / "exported"))
    assert_one_line(shell(home, *words, before="ulimit -f 500"), "exported: cannot be written")
    assert_one_line(
        shell(home, "reports/generate.py", "done", before="ulimit -f 8"), "File too large"
    )
    assert not (tmp_path / "exported").exists()
    left = {path for path in home.rglob("*") if path not in before}
    assert not [path for path in left if path.suffix == ".tmp"]


def test_no_permission(attempt: Any, home: Path, tmp_path: Path) -> None:
    """Below a file nothing can be made, not even by root."""
    (tmp_path / "file").touch()
    for words in (
        ("search/run.py", "--grid", "lr"),
        ("data/prepare.py", "--source", "builtin"),
    ):
        attempt(*words, "--out", str(tmp_path / "file")).refused("is no folder")
        attempt(*words, "--out", str(tmp_path / "file" / "below")).refused("is no folder")


def test_no_permission_for_a_user(attempt: Any, home: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("root may write anywhere")
    done = home / "experiments" / "done"
    attempt("search/run.py", "--grid", "lr", "--out", str(tmp_path / "closed")).refused("is no")
    done.chmod(0o555)
    attempt("search/rerun.py", "done").refused("can't be written to")
    attempt("reports/generate.py", "done").refused("Permission denied")
    done.chmod(0o755)
    (done / "ledger.jsonl").chmod(0)
    attempt("reports/generate.py", "done").refused("ledger.jsonl: cannot be read")


def test_a_record_that_finds_no_space_costs_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "experiments" / "done" / "ledger.jsonl"
    written = Ledger(path).trials

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    ledger = Ledger(path)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space"):
        patch.setattr(os, "fsync", full)
        ledger.append(written[0])
    path.write_bytes(path.read_bytes()[:-100])  # as much of it as there was room for
    assert Ledger(path).trials == written
    Ledger(path).append(written[0])
    assert Ledger(path).trials == [*written[1:], written[0]]


@pytest.mark.parametrize(("number", "status"), [(28, 2), (13, 2), (36, 2)])
def test_what_the_machine_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], number: int, status: int
) -> None:
    def main() -> int:
        raise OSError(number, os.strerror(number), "some\nfile")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == status
    assert capsys.readouterr().err == f"error: some\\nfile: {os.strerror(number)}\n"


def test_a_bug_is_not_called_the_machines() -> None:
    def main() -> int:
        raise FileNotFoundError(2, "No such file or directory", "ours")

    with pytest.raises(FileNotFoundError):
        run_command(main)


def test_a_long_line_keeps_both_its_ends() -> None:
    shown = one_line("begin" + "x" * 10_000 + "end")
    assert shown.startswith("begin") and shown.endswith("end") and len(shown) < 700
