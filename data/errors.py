"""The one error that a user is shown without a traceback, and how a command ends with it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(ValueError):
    """Something the user can mend: one line that names the flag or file, what is wrong with it,
    and what would be right."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """End the process with `main`'s exit status; with 2 and one line for a `UserError`."""
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 1
    except BrokenPipeError:  # `command | head`: the reader has had enough
        status = 0
    gc.freeze()  # nothing is collected at exit: torch's and Ray's modules took it about a second
    sys.exit(status)
