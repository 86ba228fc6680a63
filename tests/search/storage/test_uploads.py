"""Checkpoints on their way to the storage, with a storage that the test holds up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minigpt_search.search.storage.uploads import Uploads

PATIENCE = 30.0


class Slow:
    """Puts a file only when it is let go on."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.done: list[str] = []
        self.changed = threading.Condition()
        self.allowed = 0
        self.error: Exception | None = None

    def __call__(self, path: Path) -> None:
        with self.changed:
            self.began.append(str(path))
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.allowed > 0, PATIENCE)
            self.allowed -= 1
            if self.error is not None:
                raise self.error
            self.done.append(str(path))

    def wait_until_began(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.began == [*names], PATIENCE), self.began

    def allow(self, times: int = 1) -> None:
        with self.changed:
            self.allowed += times
            self.changed.notify_all()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def uploads(slow: Slow) -> Iterator[Uploads]:
    made = Uploads(slow)
    yield made
    slow.allow(99)
    made.close()


def comes_back(act: Callable[[], None]) -> threading.Thread:
    """`act` in a thread that is given a moment to end, if it can."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(0.05)
    return thread


def test_a_newer_one_takes_the_place_of_one_that_waits_at_the_queues_end(
    slow: Slow, uploads: Uploads
) -> None:
    uploads.add(Path("a/1"))
    slow.wait_until_began("a/1")
    for name in ("a/2", "b/1", "c/1", "a/3", "b/2"):
        uploads.add(Path(name))
    slow.allow(99)
    uploads.flush()
    assert slow.done == ["a/1", "c/1", "a/3", "b/2"]


def test_flush_waits_for_all_and_drop_for_its_trial_only(slow: Slow, uploads: Uploads) -> None:
    uploads.add(Path("a/1"))
    slow.wait_until_began("a/1")
    assert comes_back(uploads.flush).is_alive()
    uploads.add(Path("a/2"))
    uploads.add(Path("b/1"))
    uploads.drop("b")  # nothing of it is under way: at once
    flushing = comes_back(uploads.flush)
    dropping = comes_back(lambda: uploads.drop("a"))
    assert flushing.is_alive() and dropping.is_alive()
    slow.allow()
    flushing.join(PATIENCE)
    dropping.join(PATIENCE)
    assert not flushing.is_alive() and not dropping.is_alive()
    assert slow.began == ["a/1"]


def test_an_uploads_error_is_raised_where_the_next_one_is_given(
    slow: Slow, uploads: Uploads
) -> None:
    slow.error = OSError("the storage is gone")
    uploads.add(Path("a/1"))
    slow.wait_until_began("a/1")
    uploads.add(Path("b/1"))
    slow.allow()
    with pytest.raises(OSError, match="the storage is gone"):
        uploads.flush()
    assert slow.began == ["a/1"]  # what waited isn't tried
    slow.error = None
    slow.allow()
    uploads.add(Path("a/2"))  # raised once
    uploads.flush()
    slow.error = OSError("gone again")
    uploads.add(Path("a/3"))
    slow.wait_until_began("a/1", "a/2", "a/3")
    slow.allow()
    uploads.drop("a")
    with pytest.raises(OSError, match="gone again"):
        uploads.add(Path("a/4"))


def test_a_file_that_was_deleted_meanwhile_is_no_error(slow: Slow, uploads: Uploads) -> None:
    slow.error = FileNotFoundError("a/1")
    slow.allow()
    uploads.add(Path("a/1"))
    uploads.flush()


def test_close_ends_what_is_under_way_and_starts_nothing(slow: Slow) -> None:
    uploads = Uploads(slow)
    uploads.add(Path("a/1"))
    slow.wait_until_began("a/1")
    uploads.add(Path("b/1"))
    closing = comes_back(uploads.close)
    assert closing.is_alive()
    slow.allow(99)
    closing.join(PATIENCE)
    assert not closing.is_alive() and slow.done == ["a/1"]
