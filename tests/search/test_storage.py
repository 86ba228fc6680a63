"""A storage in a folder and its URIs; object stores are in `tests/cluster/test_s3.py`."""

from __future__ import annotations

import errno
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from search import arrow_file_system, storage_opening
from search.folder_storage import FolderStorage
from search.object_storage import ObjectStorage, reason
from search.storage import StorageError
from search.storage_opening import check_storage, open_storage
from search.storage_uri import (
    check_uri,
    experiment_uri,
    folder_of,
    is_uri,
    split_experiment_uri,
)

NAMES = st.text("abcXYZ019-_=", min_size=1, max_size=12)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    home = tmp_path / "shared"
    home.mkdir()
    return FolderStorage(str(home))


@settings(max_examples=8, deadline=None)
@given(objects=st.dictionaries(KEYS, st.binary(max_size=200), max_size=6))
@pytest.mark.parametrize("kind", ["folder", "fsspec"])
def test_what_is_put_is_listed_read_and_deleted(
    kind: str, objects: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("round")
    keys = sorted(objects)  # a key can't be another's folder
    objects = {k: objects[k] for k in keys if not any(o.startswith(f"{k}/") for o in keys)}
    storage: Any = FolderStorage(str(home))
    if kind == "fsspec":
        storage = ObjectStorage(f"memory://{home.name}/{os.urandom(4).hex()}")
    for key, content in objects.items():
        storage.put_bytes(b"an older one", key)
        storage.put_bytes(content, key)
    listed = storage.list("")
    assert {key: entry.size for key, entry in listed.items()} == {
        key: len(content) for key, content in objects.items()
    }
    for key, content in objects.items():
        assert storage.get_bytes(key) == content
        assert storage.get(key, home / "got" / "it") and (home / "got" / "it").exists()
        assert (home / "got" / "it").read_bytes() == content
        storage.put(home / "got" / "it", "copy/of/it")
        assert storage.get_bytes("copy/of/it") == content
        storage.delete(key)
        storage.delete(key)
        assert storage.get_bytes(key) is None and not storage.get(key, home / "none")
    assert not (home / "none").exists()


def test_a_listing_is_of_whole_folders(storage: FolderStorage) -> None:
    for key in ("one/a", "one/b/c", "one-more/a", "on"):
        storage.put_bytes(b"x", key)
    assert set(storage.list("one")) == {"one/a", "one/b/c"}
    assert storage.list("none") == {}


def test_an_object_is_whole_or_not_there(storage: FolderStorage, tmp_path: Path) -> None:
    storage.put_bytes(b"old", "a/it")
    seen = []

    def fails_half_way() -> bytes:
        seen.append((storage.get_bytes("a/it"), set(storage.list(""))))
        if len(seen) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return b"new"

    with pytest.raises(StorageError, match="No space left"):
        storage._try(lambda: storage._write(fails_half_way, "a/it"))
    assert seen == [(b"old", {"a/it"})] * 2  # nor is the part of it an object
    assert storage.get_bytes("a/it") == b"old"
    assert [path.name for path in (storage.root / "a").iterdir()] == ["it"]
    (storage.root / "in-the-way").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        storage.put_bytes(b"x", "in-the-way")
    assert sorted(path.name for path in storage.root.iterdir()) == ["a", "in-the-way"]


@pytest.mark.parametrize(
    "act",
    [
        lambda s, p: s.put(p, "k"),
        lambda s, p: s.put_bytes(b"x", "k/l"),
        lambda s, p: s.get("k", p),
        lambda s, p: s.get_bytes("k"),
        lambda s, p: s.list(""),
        lambda s, p: s.delete("k"),
    ],
)
def test_a_folder_that_has_gone_is_no_empty_one_and_is_not_made_anew(
    storage: FolderStorage, tmp_path: Path, act: Callable[[FolderStorage, Path], object]
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    storage.root.rmdir()
    with pytest.raises(StorageError, match="there is no such folder on this machine"):
        act(storage, tmp_path / "file")
    assert not storage.root.exists()
    with pytest.raises(FileNotFoundError):
        storage._make(storage.root / "experiments")  # it went a moment later


def test_a_file_that_is_not_here_is_not_the_storages_fault(
    storage: FolderStorage, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        storage.put(tmp_path / "none", "k")


def test_a_full_disk_here_is_named(
    storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put_bytes(b"x", "k")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as error:
        storage.get("k", tmp_path / "here")
    assert str(error.value) == f"{tmp_path / 'here'}: No space left on device"


def test_a_storage_is_tried_before_anything_depends_on_it(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there"
    with pytest.raises(UserError, match=f"^--storage {home}: there is no such folder"):
        check_storage(str(home))
    assert not home.exists()
    assert isinstance(check_storage(f"{home}/", make=True), FolderStorage)
    assert list(home.iterdir()) == []
    assert open_storage(str(home)) is open_storage(str(home))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^--storage .*/file/x: can't be made \(Not a directory\)"):
        check_storage(f"{tmp_path}/file/x", make=True)
    with pytest.raises(UserError, match=r"^--storage ftpp://x/y: neither pyarrow nor fsspec"):
        check_storage("ftpp://x/y")


def test_a_storage_that_does_not_answer_is_waited_for_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage_opening, "OPEN_SECONDS", 0.05)
    monkeypatch.setattr(storage_opening, "_look", lambda *_: time.sleep(0.5))
    with pytest.raises(UserError, match=r"^--storage /x: no answer in 0.05 s$"):
        check_storage("/x")


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("s3://KEY:SECRET@bucket/folder", "before the @"),
        ("s3://SECRET@bucket/folder", "before the @"),
        ("s3://bucket/folder?secret_key=SECRET", "secret_key"),
        ("s3://bucket/folder?access_key=SECRET&region=x", "access_key"),
        ("s3://bucket/folder?session_token=", "session_token"),
        ("s3://bucket/folder#SECRET", "#"),
        ("s3://", "absolute path"),
        ("s3:bucket/folder", "absolute path"),
        ("folder", "absolute path"),
        ("file://host/folder", "absolute path"),
        ("file:///folder?region=x", "absolute path"),
        ("/shared/../folder", "absolute path"),
        ("", "absolute path"),
    ],
)
def test_what_is_no_storage_is_refused_and_no_secret_is_shown(uri: str, named: str) -> None:
    with pytest.raises(UserError) as error:
        check_uri(uri)
    assert named in str(error.value) and "SECRET" not in str(error.value)


def test_a_uri_is_one_whatever_stands_at_its_end() -> None:
    assert check_uri("s3://bucket/folder//") == "s3://bucket/folder"
    assert check_uri("/shared/x/") == "/shared/x"
    assert check_uri("/") == "/"
    assert check_uri("s3://b/f/?region=x") == "s3://b/f?region=x"
    assert str(folder_of("/shared/x")) == str(folder_of("file:///shared/x")) == "/shared/x"
    assert folder_of("s3://bucket/folder") is None
    assert is_uri("s3://b") and is_uri("/x") and not is_uri("lr-quick-20261122-180000")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/",
        "s3://bucket/folder",
        "s3://bucket/a/experiments/b?region=x&scheme=http",
        "/shared/x",
    ],
)
def test_an_experiment_is_found_by_its_place(uri: str) -> None:
    assert split_experiment_uri(experiment_uri(uri, "lr-1")) == (uri, "lr-1")


@pytest.mark.parametrize(
    "uri", ["s3://b/f", "s3://b/experiments/", "s3://b/f/experiments/a/b", "/experiments/x/y"]
)
def test_a_place_without_an_experiment_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"^--resume "):
        split_experiment_uri(uri)


def test_another_services_endpoint_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert arrow_file_system._endpoint() == {}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert arrow_file_system._endpoint() == {
        "scheme": "http",
        "endpoint_override": "127.0.0.1:9000",
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.org")
    assert arrow_file_system._endpoint()["endpoint_override"] == "s3.example.org"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "s3.example.org")
    with pytest.raises(UserError, match=r"^AWS_ENDPOINT_URL_S3: give a URL"):
        arrow_file_system._endpoint()


def test_a_services_error_is_told_in_few_words() -> None:
    text = (
        "When reading information for key 'f/x' in bucket 'b': AWS Error ACCESS_DENIED during "
        "HeadObject operation: No response body. (Request ID: 42)"
    )
    assert reason(OSError(text)) == (
        "access denied; are the credentials right (AWS_ACCESS_KEY_ID, ...), and may they read and "
        "write?"
    )
    text = "AWS Error UNKNOWN (HTTP status 503) during PutObject operation: "
    assert reason(OSError(text)) == "HTTP status 503"


class Flaky:
    """Fails so often, then succeeds."""

    def __init__(self, times: int, message: str) -> None:
        self.left, self.message, self.calls = times, message, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.left:
            raise OSError(self.message)
        return "done"


def test_only_what_passes_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("search.object_storage.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "search.object_storage.time.sleep", lambda s: now.__setitem__(0, now[0] + s)
    )
    storage = ObjectStorage("memory://flaky/x")
    busy = Flaky(3, "AWS Error SLOW_DOWN (HTTP status 503) during PutObject operation: busy")
    assert storage._try(busy) == "done" and busy.calls == 4
    denied = Flaky(1, "AWS Error ACCESS_DENIED during PutObject operation: no")
    with pytest.raises(StorageError, match="access denied: no"):
        storage._try(denied)
    assert denied.calls == 1
    began, gone = (
        now[0],
        Flaky(10**6, "AWS Error NETWORK_CONNECTION during HeadObject operation: x"),
    )
    with pytest.raises(StorageError, match="memory://flaky/x: network connection: x"):
        storage._try(gone)
    assert now[0] - began > arrow_file_system.PATIENCE_SECONDS - 3
    assert now[0] - began <= arrow_file_system.PATIENCE_SECONDS


def test_a_stream_that_broke_off_is_never_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Stream:
        def write(self, _: bytes) -> None:
            raise OSError("AWS Error ACCESS_DENIED during UploadPart operation: no")

        def close(self) -> None:
            closed.append(self)

        __del__ = close

    class Files:
        def open_output_stream(self, _: str) -> Stream:
            return Stream()

    storage = ObjectStorage("memory://broken/x")
    monkeypatch.setattr(storage, "_fs", Files())
    with pytest.raises(StorageError):
        storage.put_bytes(b"x", "k")
    gc.collect()
    assert not closed
