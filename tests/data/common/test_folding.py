"""Long lines on a terminal: broken between words, commands so that they can be pasted."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.folding import NARROWEST, fold

COMMAND = "python search/run.py --extend lr-quick --lr 0.0003,0.0005,0.001,0.002,0.004 --out /srv/x"


def test_a_titles_text_goes_on_below_where_it_began() -> None:
    line = "Confirm    the 2 best get 2 to 2 fresh seeds each, until the winner is separated"
    assert fold(line, 60) == (
        "Confirm    the 2 best get 2 to 2 fresh seeds each, until the\n"
        "           winner is separated"
    )
    assert fold(line, 80) == line
    assert fold("Validation 7.1 nats; the ledger has others", 30).split("\n")[1] == (
        "           ledger has others"
    )
    assert fold(f"  lr=0.001: {'word ' * 20}end", 60).split("\n")[1].startswith("  word")


def test_a_number_stays_with_its_unit() -> None:
    line = "  lr=0.001, fresh seed 1: validation loss 10.6045 nats, perplexity 40,315.3, 5.1 s"
    assert fold(line, 81).endswith("40,315.3,\n  5.1 s")
    assert fold(line, 57).endswith("10.6045 nats,\n  perplexity 40,315.3, 5.1 s")
    assert "validation loss\n  10.6045 nats" in fold(line, 50)


@pytest.mark.parametrize("columns", [50, 60, 80])
@pytest.mark.parametrize(
    "before", ["Command    ", "Interrupted; 2 of 4 trials are in the ledger. Go on with: "]
)
def test_a_broken_command_is_one_to_a_shell(before: str, columns: int) -> None:
    lines = fold(before + COMMAND, columns).split("\n")
    assert len(lines) > 1 and max(map(len, lines)) <= columns
    folded = "\n".join(lines)
    pasted = folded[folded.index("python") :]
    assert shlex.split(pasted.replace("\\\n", "")) == shlex.split(COMMAND)
    echoed = subprocess.run(
        ["sh", "-c", pasted.replace("python search/run.py", "echo", 1)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert echoed.stdout.split() == COMMAND.split()[2:]


def test_a_quoted_word_of_a_command_is_not_broken() -> None:
    quoted = f"'{'two  words ' * 3}'"
    folded = fold(f"Command    minigpt-search run --out {quoted} --grid lr", 50)
    assert folded == (
        f"Command    minigpt-search run --out \\\n           {quoted} \\\n           --grid lr"
    )


def test_a_word_without_room_below_the_text_gets_more_of_the_line() -> None:
    path = "/" + 60 * "x"
    folded = fold(f"Export     python model/export.py {path} exported --out /x", 70)
    assert folded.split("\n") == [
        "Export     python model/export.py \\",
        f"  {path} \\",
        "           exported --out /x",
    ]


def test_what_moves_the_cursor_stays() -> None:
    for text in ("\r" + "word " * 30, "\x1b[A" + "word " * 30):
        assert fold(text, 40) == text


@given(st.text(st.sampled_from("ab \n'\\.")), st.integers(NARROWEST, 100))
def test_no_word_is_lost_or_broken(text: str, columns: int) -> None:
    assert fold(text, columns).split() == text.split()


def test_a_command_folds_on_a_terminal_and_not_into_a_pipe() -> None:
    code = (
        "from minigpt_search.data.common.errors import run_command\n"
        "run_command(lambda: print('Loss       ' + 'word ' * 30))"
    )
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert piped.stdout.count("\n") == 1
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    shown = b""
    with suppress(OSError):  # Linux' word for the end
        while chunk := os.read(terminal, 4096):
            shown += chunk
    os.waitpid(pid, 0)
    assert shown.count(b"word") == 30
    assert b"\r\n           word" in shown
