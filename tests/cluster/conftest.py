"""An S3 server for the tests that need one, and how they reach it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from minigpt_search.search.storage.object_store import ObjectStorage
from minigpt_search.search.storage.open import open_storage

SERVER = Path(__file__).with_name("s3_server.py")
KEYS = {
    "AWS_ACCESS_KEY_ID": "of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3:
    """A running server with the bucket `bucket`."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": self.url}
        command = [sys.executable, str(SERVER), str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("ready")

    def start(self) -> None:
        self._tell("start")

    def stop(self) -> None:
        """From now on connections are refused; the objects stay."""
        self._tell("stop")

    def look_at_keys(self, look: bool) -> None:
        """Whether a wrong access key is refused."""
        count = b"0" if look else b"inf"
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", count, {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()

    def storage(self, uri: str) -> ObjectStorage:
        storage = open_storage(uri)
        assert isinstance(storage, ObjectStorage)
        return storage

    def end(self) -> None:
        self._process.communicate(timeout=30)

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    import boto3  # the default run has no need of it

    server = S3()
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            _set(server, patch)
            boto3.client("s3").create_bucket(Bucket="bucket")
        yield server
    finally:
        server.end()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, which this process and its children know from their environment."""
    _set(s3_server, monkeypatch)
    return s3_server


def _set(server: S3, patch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in server.environment.items():
        patch.setenv(name, value)
