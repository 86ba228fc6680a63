"""The storage: where an experiment lives when that is not, or not only, on this machine.

A shared folder (`search/storage/folder.py`), or an object store by pyarrow (S3, GCS, ABFS, HDFS) or
fsspec (`search/storage/object_store.py`). Keys are relative paths below it, in the layout of
`data/common/paths.py`. An object appears whole or not at all.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import one_line
from minigpt_search.data.common.files import atomic_file

CHUNK = 8 << 20
"""Bytes of a file that are in memory at a time."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StorageError(OSError):
    """The storage refused, or can't be reached. An I/O error
    (`search.worker.faults.is_storage_fault`)."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(errno.EIO, one_line(why), uri)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object, as a listing has it."""

    size: int
    """Size in bytes."""
    mtime: float
    """Seconds since 1970, by the storage's clock; whole seconds in most object stores."""


class Storage(ABC):
    """Objects by key. Every method but `list` of an empty prefix raises `StorageError`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def put(self, path: Path, key: str) -> None:
        """Keep the file `path` as `key`. Raises FileNotFoundError if there is none."""

    @abstractmethod
    def put_bytes(self, content: bytes, key: str) -> None:
        """Keep `content` as `key`."""

    @abstractmethod
    def get(self, key: str, path: Path) -> bool:
        """Write the object to `path`, whole or not at all; False if there is none."""

    @abstractmethod
    def get_bytes(self, key: str) -> bytes | None:
        """The object; None if there is none."""

    @abstractmethod
    def list(self, prefix: str) -> dict[str, Entry]:
        """Every object below the folder `prefix`, by key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object, if there is one."""


def copy_out(source: Any, path: Path) -> bool:
    """Write an open object to `path`, whole or not at all, and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source, atomic_file(path) as file:
            while chunk := source.read(CHUNK):
                file.write(chunk)
    except OSError as error:
        if error.errno in _FULL:  # this machine's disk, and not the storage
            raise StorageError(str(path), str(error.strerror)) from None
        raise
    return True
