"""What a Ray of our own on this machine needs: a token, and a private folder with a short path.

Neither leaves anything in the user's home. Ray itself is not imported here.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError

_TOKEN, _MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"
LONGEST_HOME = 18
"""Characters of the folder that a private one is made in. Ray (2.60) adds 66 for its sockets, the
private folder's name takes 17, and a socket's path has 103 at most (107 on Linux)."""
_PREFIX, _OWNER = "minigpt-", "owner"


@contextmanager
def own_token() -> Iterator[None]:
    """Give the Ray that is started in the block a token of its own, by the environment, which other
    users can't read.

    Without one Ray (2.60) writes `~/.ray/auth_token`, and doesn't start where it can't.
    """
    before = {name: os.environ.get(name) for name in (_TOKEN, _MODE)}
    os.environ[_TOKEN] = _token()
    _forget_token()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _forget_token()


@functools.cache
def _token() -> str:
    """One for the whole process: a Ray that is started again finds it in Ray's cache."""
    return secrets.token_hex(32)


def _forget_token() -> None:
    """Empty Ray's cache of the token; a release without the function reads it once a process."""
    loader: Any = getattr(sys.modules.get("ray._raylet"), "AuthenticationTokenLoader", None)
    with suppress(AttributeError):
        loader.instance().reset_cache()


def make_scratch(owner: str, root: Path) -> Path:
    """A new folder that only this user enters, marked as `owner`'s.

    It is in the system's temporary folder, or where that can't be written to in `root`. Raises
    `UserError` where there is none that can be written to and is short enough for a socket.
    """
    for home in _homes(root):
        with suppress(OSError):
            scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
            (scratch / _OWNER).write_text(owner, encoding="utf-8", errors="surrogateescape")
            return scratch
    tried = ", ".join(map(str, _homes(root)))
    raise UserError(
        f"TMPDIR: no folder for Ray's sockets (tried {tried}); set it to one that can be written "
        f"to, whose path has at most {LONGEST_HOME} characters"
    )


def remove_scratches(owner: str, root: Path) -> None:
    """Remove what is left of `owner`'s scratch folders."""
    for scratch in scratches_of(owner, root):
        shutil.rmtree(scratch, ignore_errors=True)


def scratches_of(owner: str, root: Path) -> list[Path]:
    """The scratch folders that are there of `owner`: real ones, of this user and with its mark."""
    return [path for home in _homes(root) for path in home.glob(f"{_PREFIX}*") if _is(path, owner)]


def _is(path: Path, owner: str) -> bool:
    with suppress(OSError, ValueError):
        ours = not path.is_symlink() and path.lstat().st_uid == os.getuid()
        mark = (path / _OWNER).read_text(encoding="utf-8", errors="surrogateescape") if ours else ""
        return ours and mark == owner
    return False


def _homes(root: Path) -> list[Path]:
    """Where a scratch folder may be, the best place first."""
    places = [os.environ.get("TMPDIR"), "/tmp", "/var/tmp", str(root), "/dev/shm"]
    absolute = [Path(place).absolute() for place in places if place]
    return [home for home in dict.fromkeys(absolute) if len(str(home)) <= LONGEST_HOME]
