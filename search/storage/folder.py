"""A storage in a folder that all machines have mounted."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from minigpt_search.data.common.files import atomic_file
from minigpt_search.search.storage.base import CHUNK, Entry, Storage, StorageError, copy_out
from minigpt_search.search.storage.uri import folder_of

T = TypeVar("T")


class FolderStorage(Storage):
    """A folder that all machines have mounted at the same path."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.root = Path(str(folder_of(uri)))

    def _try(self, act: Callable[[], T]) -> T:
        if not self.root.is_dir():  # never made anew: it may be a mount that has gone
            raise StorageError(self.uri, "there is no such folder on this machine")
        try:
            return act()
        except (FileNotFoundError, StorageError):
            raise
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise StorageError(self.uri, f"{error.strerror or error}{where}") from None

    def put(self, path: Path, key: str) -> None:
        with open(path, "rb") as file:
            self._try(lambda: self._write(lambda: file.read(CHUNK), key))

    def put_bytes(self, content: bytes, key: str) -> None:
        left = [content]
        self._try(lambda: self._write(lambda: left.pop() if left else b"", key))

    def _write(self, read: Callable[[], bytes], key: str) -> None:
        target = self.root / key
        self._make(target.parent)
        # Not only the process' id: other machines have the same ones.
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part")
        with atomic_file(part) as file:
            while chunk := read():
                file.write(chunk)
        try:
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _make(self, folder: Path) -> None:
        """Like `mkdir -p`, but never the root: it may be a mount that went this moment."""
        if folder.is_dir() or folder == self.root:
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)

    def get(self, key: str, path: Path) -> bool:
        try:
            return self._try(lambda: copy_out(open(self.root / key, "rb"), path))
        except FileNotFoundError:
            return False

    def get_bytes(self, key: str) -> bytes | None:
        try:
            return self._try((self.root / key).read_bytes)
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, Entry]:
        return self._try(lambda: self._walk(prefix))

    def _walk(self, prefix: str) -> dict[str, Entry]:
        found = {}
        for home, _, names in os.walk(self.root / prefix, onerror=_unless_gone):
            for name in names:
                if name.endswith((".part", ".tmp")):
                    continue
                path = Path(home, name)
                try:
                    stat = path.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
                key = path.relative_to(self.root).as_posix()
                found[key] = Entry(size=stat.st_size, mtime=stat.st_mtime)
        return found

    def delete(self, key: str) -> None:
        self._try(lambda: (self.root / key).unlink(missing_ok=True))


def _unless_gone(error: OSError) -> None:
    """An unreadable folder isn't an empty one, which `os.walk` takes it for."""
    if not isinstance(error, FileNotFoundError):
        raise error
