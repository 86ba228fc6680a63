"""What an object store may answer, without one; a real one is in `tests/cluster/test_s3.py`."""

from __future__ import annotations

import gc

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage import object_store as arrow_file_system
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.storage.object_store import ObjectStorage, reason


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
    monkeypatch.setattr("minigpt_search.search.storage.object_store.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "minigpt_search.search.storage.object_store.time.sleep",
        lambda s: now.__setitem__(0, now[0] + s),
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
    assert now[0] - began > arrow_file_system.LEASE_TIMEOUT_SECONDS - 3
    assert now[0] - began <= arrow_file_system.LEASE_TIMEOUT_SECONDS


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
