"""A storage in an object store, by pyarrow's file systems or fsspec's through them."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage.base import CHUNK, Entry, Storage, StorageError, copy_out

T = TypeVar("T")
_PASSING = re.compile(
    r"NETWORK_CONNECTION|INTERNAL_FAILURE|SLOW_DOWN|SERVICE_UNAVAILABLE|THROTTL|REQUEST_TIMEOUT|"
    r"HTTP status 5\d\d|[Tt]imed? ?out"
)
_AWS = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during (\w+) operation: (.*)", re.S)


class ObjectStorage(Storage):
    """What pyarrow's file systems reach, and fsspec's through them."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._fs, self._home = arrow_file_system(uri)

    def _path(self, key: str) -> str:
        return f"{self._home}/{key}".rstrip("/")

    def _try(self, act: Callable[[], T]) -> T:
        """Again and again while it is the network's or the service's fault, within patience."""
        deadline, wait = time.monotonic() + LEASE_TIMEOUT_SECONDS, 0.2
        while True:
            try:
                return act()
            except (FileNotFoundError, StorageError):
                raise
            except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
                if not _PASSING.search(str(error)) or time.monotonic() + wait > deadline:
                    raise StorageError(self.uri, reason(error)) from None
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
            _abandon(out)
            raise
        out.close()

    def get(self, key: str, path: Path) -> bool:
        try:
            return self._try(lambda: copy_out(self._fs.open_input_stream(self._path(key)), path))
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


def _abandon(stream: Any) -> None:
    """Keep it for ever: its destructor would close it, and so put what came so far as if it were
    whole; at the interpreter's end it would wait for ever for a thread (pyarrow 26)."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))


def reason(error: Exception) -> str:
    """A service's error in few words."""
    aws = _AWS.search(str(error))
    if aws is None:
        return str(error)
    kind, status, _, text = aws.groups()
    text = text.split(" (Request ID")[0].split("; Details")[0].strip()
    kind = f"HTTP status {status}" if kind == "UNKNOWN" else kind.lower().replace("_", " ")
    said = kind if text in ("", "No response body.") else f"{kind}: {text}"
    refused = any(word in kind for word in ("denied", "access key", "signature"))
    if refused or status in ("401", "403"):
        said += "; are the credentials right (AWS_ACCESS_KEY_ID, ...), and may they read and write?"
    return said


LEASE_TIMEOUT_SECONDS = 20.0
"""How long an operation is tried again while the network or the service fails."""
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 15.0
"""Of one attempt: until a connection stands, and until the next bytes come."""


def arrow_file_system(uri: str) -> tuple[Any, str]:
    """The file system behind `uri`, and the path in it. Raises `UserError` for an unknown one."""
    from pyarrow import fs

    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return _s3(parts.query, parts.netloc), f"{parts.netloc}{parts.path}".rstrip("/")
    if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in parts.query:
        query = [*parse_qsl(parts.query), ("retry_limit_seconds", f"{LEASE_TIMEOUT_SECONDS:g}")]
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
    """pyarrow's S3, with limits to what one attempt may take."""
    from pyarrow import fs

    options: dict[str, Any] = dict(parse_qsl(query))
    if "endpoint_override" not in options:
        options = _endpoint() | options
    options.pop("retry_limit_seconds", None)
    if "anonymous" in options:
        options["anonymous"] = options["anonymous"] == "true"
    if "region" not in options and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys():
        # A bucket's own region, which only Amazon tells.
        elsewhere = "endpoint_override" in options
        options["region"] = "us-east-1" if elsewhere else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **options,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
        allow_delayed_open=True,  # one request for a small object instead of three
    )


def _endpoint() -> dict[str, str]:
    """The address of a service other than Amazon's, from where its command line reads it too;
    pyarrow (26) does not."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if url := os.environ.get(name):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
                raise UserError(f"{name}: give a URL such as https://HOST:PORT")
            return {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path}
    return {}
