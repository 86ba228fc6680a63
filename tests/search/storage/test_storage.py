"""A storage in a folder, and how any is opened."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage import open as storage_opening
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.storage.object_store import ObjectStorage
from minigpt_search.search.storage.open import check_storage, open_storage

NAMES = st.text("abcXYZ019-_=", min_size=1, max_size=12)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


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


def test_a_folder_that_cannot_be_read_is_no_empty_one(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuses)
    with pytest.raises(StorageError, match="Permission denied"):
        storage.list("")


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
