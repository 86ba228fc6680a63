"""The storage: where an experiment lives when that is not, or not only, on this machine.

A shared folder, or an object store by pyarrow (S3, GCS, ABFS, HDFS) or fsspec. Keys are relative
paths below it, in the layout of `data/paths.py`. An object appears whole or not at all.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from data.atomic_file import atomic_file
from data.errors import UserError, one_line
from search.storage_uri import check_uri, folder_of

T = TypeVar("T")
PATIENCE_SECONDS = 20.0
"""How long an operation is tried again while the network or the service fails."""
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 15.0
"""Of one attempt: until a connection stands, and until the next bytes come."""
OPEN_SECONDS = 30.0
"""In which a storage must answer when a command begins."""
CHUNK = 8 << 20
_PASSING = re.compile(
    r"NETWORK_CONNECTION|INTERNAL_FAILURE|SLOW_DOWN|SERVICE_UNAVAILABLE|THROTTL|REQUEST_TIMEOUT|"
    r"HTTP status 5\d\d|[Tt]imed? ?out"
)
_AWS = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during (\w+) operation: (.*)", re.S)
_abandoned: list[Any] = []
"""Streams that must not be closed: closing one would put what came so far as if it were whole."""


class StorageError(OSError):
    """The storage refused, or can't be reached. An I/O error (`search.faults.is_storage_fault`)."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(errno.EIO, one_line(why), uri)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object, as a listing has it."""

    size: int
    """Bytes."""
    mtime: float
    """Seconds since 1970, by the storage's clock; whole seconds in most object stores."""


class Storage(ABC):
    """Objects by key. Every method but `list` of an empty prefix raises `StorageError`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __reduce__(self) -> tuple[Callable[[str], Storage], tuple[str]]:
        return open_storage, (self.uri,)

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
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(self.uri, f"{error.strerror or error}") from None

    def put(self, path: Path, key: str) -> None:
        with open(path, "rb") as file:
            self._try(lambda: self._write(lambda: file.read(CHUNK), key))

    def put_bytes(self, content: bytes, key: str) -> None:
        left = [content]
        self._try(lambda: self._write(lambda: left.pop() if left else b"", key))

    def _write(self, read: Callable[[], bytes], key: str) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not only the process' id: other machines have the same ones.
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part")
        with atomic_file(part) as file:
            while chunk := read():
                file.write(chunk)
        os.replace(part, target)

    def get(self, key: str, path: Path) -> bool:
        try:
            return self._try(lambda: _copy(open(self.root / key, "rb"), path))
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
        for home, _, names in os.walk(self.root / prefix):
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


class ObjectStorage(Storage):
    """What pyarrow's file systems reach, and fsspec's through them."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._fs, self._home = _file_system(uri)

    def _path(self, key: str) -> str:
        return f"{self._home}/{key}".rstrip("/")

    def _try(self, act: Callable[[], T]) -> T:
        """Again and again while it is the network's or the service's fault, within patience."""
        deadline, wait = time.monotonic() + PATIENCE_SECONDS, 0.2
        while True:
            try:
                return act()
            except FileNotFoundError:
                raise
            except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
                if not _PASSING.search(str(error)) or time.monotonic() + wait > deadline:
                    raise StorageError(self.uri, _reason(error)) from None
            time.sleep(wait)
            wait = min(2 * wait, 3.0)

    def put(self, path: Path, key: str) -> None:
        path.stat()  # its own FileNotFoundError

        def write() -> None:
            with open(path, "rb") as file:
                self._write(lambda: file.read(CHUNK), key)

        self._try(write)

    def put_bytes(self, content: bytes, key: str) -> None:
        def write() -> None:
            left = [content]
            self._write(lambda: left.pop() if left else b"", key)

        self._try(write)

    def _write(self, read: Callable[[], bytes], key: str) -> None:
        out = self._fs.open_output_stream(self._path(key))
        try:
            while chunk := read():
                out.write(chunk)
        except BaseException:
            _abandoned.append(out)
            raise
        out.close()

    def get(self, key: str, path: Path) -> bool:
        try:
            return self._try(lambda: _copy(self._fs.open_input_stream(self._path(key)), path))
        except FileNotFoundError:
            return False

    def get_bytes(self, key: str) -> bytes | None:
        def read() -> bytes:
            with self._fs.open_input_stream(self._path(key)) as file:
                return b"".join(iter(lambda: file.read(CHUNK), b""))  # `read()` alone is slow

        try:
            return self._try(read)
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, Entry]:
        from pyarrow import fs

        home = self._path(prefix)
        selector = fs.FileSelector(home, recursive=True, allow_not_found=True)
        infos = self._try(lambda: self._fs.get_file_info(selector))
        start = len(self._home) + 1
        return {
            info.path[start:]: Entry(size=info.size or 0, mtime=(info.mtime_ns or 0) / 1e9)
            for info in infos
            if info.type == fs.FileType.File
        }

    def delete(self, key: str) -> None:
        try:
            self._try(lambda: self._fs.delete_file(self._path(key)))
        except FileNotFoundError:
            return

    def check_bucket(self) -> None:
        """Raise `StorageError` if there is no bucket, of which a read says only that the key isn't
        there."""
        from pyarrow import fs

        bucket = self._home.split("/")[0]
        if urlsplit(self.uri).scheme in ("s3", "gs", "gcs"):
            info = self._try(lambda: self._fs.get_file_info(bucket))
            if info.type == fs.FileType.NotFound:
                raise StorageError(self.uri, f"there is no bucket {bucket!r}")


def _copy(source: Any, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, atomic_file(path) as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)
    return True


def _reason(error: Exception) -> str:
    """A service's error in few words."""
    aws = _AWS.search(str(error))
    if aws is None:
        return str(error)
    kind, status, _, text = aws.groups()
    text = text.split(" (Request ID")[0].split("; Details")[0].strip() or f"HTTP status {status}"
    kind = f"HTTP status {status}" if kind == "UNKNOWN" else kind.lower().replace("_", " ")
    return f"{kind}: {text}"


def _file_system(uri: str) -> tuple[Any, str]:
    """The file system behind `uri`, and the path in it. Raises `UserError` for an unknown one."""
    from pyarrow import fs

    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return _s3(parts.query, parts.netloc), f"{parts.netloc}{parts.path}".rstrip("/")
    if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in parts.query:
        query = [*parse_qsl(parts.query), ("retry_limit_seconds", f"{PATIENCE_SECONDS:g}")]
        uri = parts._replace(query=urlencode(query)).geturl()
    try:
        return fs.FileSystem.from_uri(uri)
    except (OSError, ValueError):
        pass
    try:
        import fsspec

        made, path = fsspec.core.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(made)), path.rstrip("/")
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"--storage {uri}: neither pyarrow nor fsspec opens it ({error})") from None


def _s3(query: str, bucket: str) -> Any:
    """pyarrow's S3, with limits to what one attempt may take. It reads AWS_ENDPOINT_URL itself."""
    from pyarrow import fs

    options: dict[str, Any] = dict(parse_qsl(query))
    options.pop("retry_limit_seconds", None)
    if "anonymous" in options:
        options["anonymous"] = options["anonymous"] == "true"
    elsewhere = "endpoint_override" in options or any(
        k.startswith("AWS_ENDPOINT_URL") for k in os.environ
    )
    if "region" not in options and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys():
        # A bucket's own region, which only Amazon tells.
        options["region"] = "us-east-1" if elsewhere else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **options,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
        allow_delayed_open=True,  # one request for a small object instead of three
    )


@functools.cache
def open_storage(uri: str) -> Storage:
    """The storage at `uri`, opened once in a process. Raises `UserError` for no URI of a storage,
    `StorageError` where it takes part in that and can't."""
    uri = check_uri(uri)
    try:
        return ObjectStorage(uri) if folder_of(uri) is None else FolderStorage(uri)
    except OSError as error:
        raise StorageError(uri, _reason(error)) from None


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
