"""`--storage URI` opened, and looked at before anything depends on it."""

from __future__ import annotations

import functools
import threading
import uuid
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage.base import Storage, StorageError
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.storage.object_store import ObjectStorage, reason
from minigpt_search.search.storage.uri import check_uri, folder_of

OPEN_SECONDS = 30.0
"""In which a storage must answer when a command begins."""


@functools.cache
def open_storage(uri: str) -> Storage:
    """The storage at `uri`, opened once in a process. Raises `UserError` for no URI of a storage,
    `StorageError` where it takes part in that and can't."""
    uri = check_uri(uri)
    try:
        return ObjectStorage(uri) if folder_of(uri) is None else FolderStorage(uri)
    except OSError as error:
        raise StorageError(uri, reason(error)) from None


def check_storage(uri: str, make: bool = False) -> Storage:
    """Open it, write an object, read it and delete it, within `OPEN_SECONDS`.

    Args:
        make: whether a folder that isn't there is made.

    Raises `UserError`, one line, if any of this can't be done.
    """
    result: list[Storage | Exception] = []

    def look() -> None:
        try:
            result.append(_look(check_uri(uri), make))
        except Exception as error:  # noqa: BLE001 - raised again below
            result.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(OPEN_SECONDS)
    found = result[0] if result else StorageError(uri, f"no answer in {OPEN_SECONDS:g} s")
    if isinstance(found, OSError):
        raise UserError(f"--storage {found}") from None
    if isinstance(found, Exception):
        raise found
    return found


def _look(uri: str, make: bool) -> Storage:
    folder = folder_of(uri)
    if folder is not None and make:
        try:
            Path(str(folder)).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(uri, f"can't be made ({error.strerror})") from None
    storage = open_storage(uri)
    if isinstance(storage, ObjectStorage):
        storage.check_bucket()
    key = f".check-{uuid.uuid4().hex}"
    storage.put_bytes(b"written", key)
    if storage.get_bytes(key) != b"written":
        raise StorageError(uri, "an object that was just written can't be read")
    storage.delete(key)
    return storage
