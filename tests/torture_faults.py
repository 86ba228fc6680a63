"""What `tests/torture.py` does to a running search, each with how to undo it.

Linux. The full disk is a real one if this runs as root (a small tmpfs, filled up), else a limit on
the size of files; the read-only folder has the immutable flag for root, else no write permission.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

DISK_MB = 300
Undo = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A search that runs, and where."""

    driver: psutil.Process
    folder: Path
    """The experiment's."""
    home: Path
    """The file system that holds it."""
    chance: random.Random
    screen: IO[str]
    """The pipe that the driver prints into."""


def nothing() -> None:
    pass


@contextmanager
def small_disk(home: Path) -> Iterator[None]:
    """`home` as a file system of its own, if this may mount one."""
    home.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(home)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(home)], check=True)


def kill_driver(target: Target) -> Undo:
    target.driver.send_signal(signal.SIGKILL)
    return nothing


def terminate_driver(target: Target) -> Undo:
    target.driver.send_signal(signal.SIGTERM)
    return nothing


def interrupt(target: Target) -> Undo:
    os.killpg(target.driver.pid, signal.SIGINT)
    return nothing


def kill_worker(target: Target) -> Undo:
    workers = _named(target, "ray::Implicit")
    if workers:
        target.chance.choice(workers).kill()
    return nothing


def kill_raylet(target: Target) -> Undo:
    for process in _named(target, "raylet"):
        process.kill()
    return nothing


def fill_disk(target: Target) -> Undo:
    if not os.path.ismount(target.home):
        return _limit_files(target)
    ballast = target.home / "ballast"
    free = os.statvfs(target.home)
    with suppress(OSError), open(ballast, "wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
        while file.write(b"x" * 4096):  # what was freed meanwhile
            pass
    return ballast.unlink


def _limit_files(target: Target) -> Undo:
    """Files of driver and workers can't grow beyond the ledger's size now."""
    ledger = target.folder / "ledger.jsonl"
    most = ledger.stat().st_size + 100 if ledger.exists() else 100
    for process in [target.driver, *_named(target, "ray::Implicit")]:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
    return nothing


def make_read_only(target: Target) -> Undo:
    paths = [target.folder, *sorted(target.folder.rglob("*"))]
    paths = [path for path in paths if path.is_dir() or path.name == "ledger.jsonl"]
    if not paths:  # it has not begun
        return nothing
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", *map(str, paths)], check=True)
        return lambda: subprocess.run(["chattr", "-i", *map(str, paths)], check=True) and None
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)

    def undo() -> None:
        for path, mode in modes.items():
            path.chmod(mode)

    return undo


def truncate_newest(target: Target) -> Undo:
    """Kill everything at once, as a power cut does, and cut the newest file short.

    Of the ledger at most the last line: those before it were synced to disk, each before the
    next began.
    """
    for process in [*_tree(target), target.driver]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(_tree(target), timeout=10)
    names = ("ledger.jsonl", "outcome.json*", "trial.json*", "step_*", "study.db*")
    files = [path for name in names for path in target.folder.rglob(name)]
    if files:
        newest = max(files, key=lambda path: path.stat().st_mtime)
        content = newest.read_bytes()
        least = content.rfind(b"\n", 0, -1) + 1 if newest.name == "ledger.jsonl" else 0
        if least < len(content):
            os.truncate(newest, target.chance.randrange(least, len(content)))
    return nothing


def _tree(target: Target) -> list[psutil.Process]:
    try:
        return target.driver.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _named(target: Target, beginning: str) -> list[psutil.Process]:
    """Descendants of the driver whose command line begins like that, or whose name does."""
    found = []
    for process in _tree(target):
        with suppress(psutil.Error):
            if process.name() == beginning or " ".join(process.cmdline()).startswith(beginning):
                found.append(process)
    return found


def close_screen(target: Target) -> Undo:
    """Nobody reads any more what the driver prints. Its log must have the rest of it."""
    os.set_blocking(target.screen.fileno(), False)
    seen = b""
    with suppress(BlockingIOError):
        seen = os.read(target.screen.fileno(), 2**20)
    target.screen.close()

    def check_log() -> None:
        log = target.folder / "screen.log"
        told = seen + (log.read_bytes() if log.exists() else b"")
        assert b"\nTime " in told, f"neither screen nor log has the end:\n{told.decode()}"

    return check_log


FAULTS: dict[str, Callable[[Target], Undo]] = {
    "SIGKILL to the driver": kill_driver,
    "SIGTERM to the driver": terminate_driver,
    "Ctrl-C to all of the process group": interrupt,
    "SIGKILL to a worker": kill_worker,
    "SIGKILL to the raylet": kill_raylet,
    "disk full": fill_disk,
    "folder read-only": make_read_only,
    "screen's pipe closed": close_screen,
    "power cut, newest file truncated": truncate_newest,
}
SURVIVED = ("SIGKILL to a worker", "SIGKILL to the raylet", "screen's pipe closed")
"""What the driver goes on after by itself."""
