"""The file system behind an object store's URI, with limits to how long it is waited for."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from data.errors import UserError

PATIENCE_SECONDS = 20.0
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
    """Of a service other than Amazon's, as its command line reads it too; pyarrow (26) does not."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if url := os.environ.get(name):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
                raise UserError(f"{name}: give a URL such as https://HOST:PORT")
            return {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path}
    return {}
