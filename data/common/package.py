"""This program's own code as files: what travels to a cluster, and what is hashed."""

from __future__ import annotations

from pathlib import Path

import minigpt_search
from minigpt_search.data.common.errors import UserError

ROOMS = ("data", "model", "search", "reports")


def package_folder() -> Path:
    """The folder of the package `minigpt_search`: in a checkout that of links to its rooms."""
    assert minigpt_search.__file__ is not None
    return Path(minigpt_search.__file__).parent


def package_to_send() -> Path:
    """The package's folder as another machine can have it. Raises `UserError` if it isn't what
    runs here, as in a copy of the checkout that has other files in place of its links."""
    folder = package_folder()
    for name, path in (each for room in ROOMS for each in source_files(room).items()):
        sent = folder / name
        if not sent.is_file() or sent.read_bytes() != path.read_bytes():
            raise UserError(
                f"{sent} is not {path}, so other machines would run something else: "
                f"{folder} must have links to the checkout's folders (copy with `cp -a`, "
                "`rsync -a` or `git clone -c core.symlinks=true`)"
            )
    return folder


def source_files(part: str) -> dict[str, Path]:
    """The source files of a part of the package (`data`, `search/space`, `model/config.py`), by
    their path in the package, in order."""
    folder = Path(minigpt_search.__path__[0])
    whole = folder / part
    found = [whole] if whole.suffix == ".py" else sorted(whole.rglob("*.py"))
    return {path.relative_to(folder).as_posix(): path for path in found}
