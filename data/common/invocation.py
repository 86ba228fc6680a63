"""How this program was called, and commands to print that can be pasted into the same shell.

A command is `minigpt-search run ...` when it was called so, `python -m minigpt_search run ...` when
it was called so, and else that of the script: `python search/run.py ...` where the working folder
is the checkout, with the script's whole path from anywhere else.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import minigpt_search
from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.paths import artifacts_root, ensure_temporary_folder

PROGRAM = "minigpt-search"
SUBCOMMANDS = {
    "search/run.py": "run",
    "search/rerun.py": "rerun",
    "reports/generate.py": "report",
    "model/generate.py": "sample",
    "model/export.py": "export",
    "data/prepare.py": "prepare",
    "search/list_experiments.py": "list",
}
"""The scripts, by their path in the checkout, and what each is called as a part of the command."""


def program(script: str) -> list[str]:
    """The words that begin a command for `script` (`search/run.py`), in the form that this process
    was called in."""
    called = installed_command()
    if called is not None:
        return [*called, SUBCOMMANDS[script]]
    return [_python(), script if _in_checkout(script) else str(_script_file(script))]


def command_line(script: str, *words: str, root: Path | None = None, out: str | None = None) -> str:
    """A command to print, quoted for a shell: `script` in the form that was used, with `words`,
    and with `--out OUT`, or with the one that it needs to find `root`."""
    out = needed_out(root) if root is not None else out
    return shlex.join([*program(script), *words, *(["--out", out] if out else [])])


def needed_out(root: Path) -> str | None:
    """The value of `--out` without which a command that is pasted from any folder would not find
    `root`; None where it needs none, or works in the checkout alone and finds it from there."""
    only_here = installed_command() is None and _in_checkout("search/run.py")
    home = os.environ.get("MINIGPT_HOME")
    found_anywhere = home is not None and Path(home).expanduser().is_absolute()
    return None if root == artifacts_root() and (only_here or found_anywhere) else str(root)


def recorded_command(words: Sequence[str]) -> str:
    """A command of an experiment's record, whose machine and folders may be others than these:
    `python search/run.py ...`."""
    return shlex.join(["python", *words])


def installed_command() -> list[str] | None:
    """The words before the subcommand, if this process was called as `minigpt-search` or as
    `python -m minigpt_search`; None for a script."""
    called = Path(sys.argv[0] or ".")
    if called.name == PROGRAM:
        found = shutil.which(PROGRAM)
        on_path = found is not None and Path(found).absolute() == called.absolute()
        return [PROGRAM if on_path else str(called.absolute())]
    if called.name == "__main__.py" and called.parent.name == minigpt_search.__name__:
        return [_python(), "-m", minigpt_search.__name__]
    return None


def parse_first(parse: Callable[[], argparse.Namespace]) -> None:
    """Call `parse`, a parser's method, before what a command needs is imported, which takes
    seconds: for `--help` and for a mistake in the flags the process ends with it."""
    try:
        ensure_temporary_folder(artifacts_root(parse().out))  # some imports ask for one
    except UserError as error:
        mistake = error

        def refuse() -> int:
            raise mistake

        run_command(refuse)


def _python() -> str:
    """This interpreter: by its name where that finds it."""
    name = Path(sys.executable or "python").name
    found = shutil.which(name)
    return name if found == sys.executable or not sys.executable else sys.executable


def _script_file(script: str) -> Path:
    return (Path(minigpt_search.__path__[0]) / script).resolve()


def _in_checkout(script: str) -> bool:
    """Whether the working folder is the checkout that this program runs from."""
    try:
        return (Path.cwd() / script).resolve() == _script_file(script)
    except OSError:  # a working folder that is gone
        return False
