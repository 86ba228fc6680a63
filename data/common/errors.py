"""The one error that a user is shown without a traceback, and how a command ends with it."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from minigpt_search.data.common.folding import HelpFormatter
from minigpt_search.data.common.screen import ReaderGone, watched_screen

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk or a quota that is full."""
_REFUSED_BY_THE_MACHINE = (
    *(*FULL, errno.EROFS, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
)
"""Errors such as no space, no permission, an impossible path. They are never a bug of the program,
wherever they come up."""
LONGEST_LINE = 600
"""The most characters of a message: a command line may hold an argument of any length."""


class UserError(ValueError):
    """An error that the user can mend. Its text is one line that names the flag or file, what is
    wrong with it, and what would be right."""


class ArgumentParser(argparse.ArgumentParser):
    """A parser that raises `UserError`, where argparse's own prints the usage and exits, and whose
    help breaks between words."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter} | options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; see --help")


def is_count(text: str) -> bool:
    """Whether `text` is a whole number from 1 to 999,999."""
    return text.isascii() and text.isdecimal() and len(text) < 7 and int(text) > 0


def one_line(text: object) -> str:
    """`text` as one printable line, its middle left out if it is very long: names and values in a
    message are the user's, line breaks and control characters included."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )
    half = LONGEST_LINE // 2
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:half]} … {shown[-half:]}"


def run_command(main: Callable[[], int]) -> NoReturn:
    """End the process with `main`'s exit status; with 2 and one line for a `UserError`, or where
    the machine refuses a file."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal's encoding may lack a character
            stream.reconfigure(errors="backslashreplace")
    with watched_screen():
        status = _status_of(main)
    gc.freeze()  # nothing is collected at exit: torch's and Ray's modules took it about a second
    sys.exit(status)


def _status_of(main: Callable[[], int]) -> int:
    """The exit status of `main`, after the line that says why it isn't `main`'s own."""
    try:
        return main()
    except UserError as error:
        _say(f"error: {one_line(error)}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 1
    except ReaderGone:  # `command | head`: the reader has had enough
        return 0
    except OSError as error:
        if error.errno not in _REFUSED_BY_THE_MACHINE:
            raise
        _say(f"error: {one_line(refusal(error))}")
        return 2


def _say(line: str) -> None:
    """Print to standard error; where it is gone too the status has to be enough."""
    with suppress(ReaderGone, OSError):
        print(line, file=sys.stderr)


def refusal(error: OSError) -> str:
    """Text that names the file of an error, and why the system refused it."""
    return f"{error.filename or 'a file'}: {error.strerror or error}"
