"""Streams whose reader goes away, in processes of their own."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt_search.data.common.package import package_folder
from minigpt_search.data.common.screen import watched_screen

BEFORE = f"""
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the process of the tests may ignore it
sys.path[0] = {str(package_folder().parent)!r}
from pathlib import Path
from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.screen import keep_going
"""
PRINTS = "    print('a' * 99_999)\n    print('b')\n    print('c', file=sys.stderr)\n"


def run(body: str, shell: str = "{}", **options: object) -> subprocess.CompletedProcess[str]:
    """Run `main` of this body as a command, in this line of a shell."""
    code = f"{BEFORE}\ndef main():\n{body}\nrun_command(main)\n"
    line = shell.format('"$0" -c "$1"') + "\nexit ${PIPESTATUS[0]}"
    command = ["bash", "-c", line, sys.executable, code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_only_prints_ends_quietly_with_its_reader() -> None:
    done = run(PRINTS + "    return 5", "{} | head -c 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a", "")


def test_a_broken_pipe_that_is_not_the_screens_is_no_success() -> None:
    done = run("    raise BrokenPipeError(32, 'Broken pipe')")
    assert done.returncode == 1 and "BrokenPipeError" in done.stderr


def test_a_mistake_is_status_two_also_if_nobody_reads_of_it() -> None:
    late = "    import time; time.sleep(0.2)\n    raise UserError('x')"
    done = run(late, "{} 2> >(true)")
    assert (done.returncode, done.stderr) == (2, "")
    done = run("    raise UserError('x')", "{} 2>/dev/full")
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("shell", ["{} | head -c 1", "{} >/dev/full", "{} >&-", "{} 2>&1 | true"])
def test_what_has_work_goes_on_and_its_log_has_the_text(tmp_path: Path, shell: str) -> None:
    wait = "    import time; time.sleep(0.2)\n"  # for `true` to end
    late = f"    keep_going(Path({str(tmp_path / 'log')!r}))\n    print('d')\n"
    done = run(wait + "    keep_going()\n" + PRINTS + late + "    return 5", shell)
    assert done.returncode == 5
    log = (tmp_path / "log").read_text()
    assert log.index("\nb\n" if ">&-" not in shell else "b\n") < log.index("d\n")
    assert ("stdout was lost" in log) == (">&-" not in shell)
    assert ("c\n" in log) == ("2>&1" in shell)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_bars_redraws_are_not_kept(tmp_path: Path) -> None:
    body = f"    keep_going(Path({str(tmp_path / 'log')!r}))\n"
    body += "    print('a')\n    sys.stdout.write('\\r 5%|'); sys.stdout.write('\\r 6%|')\n"
    assert run(body + "    return 0", "{} >/dev/full").returncode == 0
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["a"]


def test_a_screen_that_stays_leaves_no_log(tmp_path: Path) -> None:
    done = run(f"    keep_going(Path({str(tmp_path / 'log')!r}))\n{PRINTS}    return 0")
    assert done.stdout.endswith("a\nb\n") and done.stderr == "c\n"
    assert not (tmp_path / "log").exists()


def test_work_goes_on_without_any_standard_stream(tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = f"    keep_going(Path({str(log)!r}))\n{PRINTS}    sys.stdout.fileno()\n    return 5"
    assert run(body, "{} <&- >&- 2>&-").returncode == 5
    assert log.read_text().endswith("a\nb\nc\n")


def test_a_hang_up_ends_only_what_has_no_work() -> None:
    hang_up = "    import os, signal; os.kill(os.getpid(), signal.SIGHUP)\n    return 5"
    assert run(hang_up).returncode in (129, -signal.SIGHUP)
    assert run("    keep_going()\n" + hang_up).returncode == 5


def test_a_stream_can_be_pickled() -> None:
    with watched_screen():
        assert pickle.loads(pickle.dumps(sys.stderr)) is sys.stderr
