"""Who drives an experiment, with a clock of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage.base import StorageError
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.storage.lease import (
    BEAT_SECONDS,
    LEASE_TIMEOUT_SECONDS,
    SETTLE_SECONDS,
    Lease,
)

KEY = "experiments/x/driver.json"


class World:
    """A clock, and what happens at its moments."""

    def __init__(self) -> None:
        self.time = 0.0
        self.every_beat: list[Callable[[], None]] = []
        self.once: list[tuple[float, Callable[[], None]]] = []

    def sleep(self, seconds: float) -> None:
        end = self.time + seconds
        beats = int(end / BEAT_SECONDS) - int(self.time / BEAT_SECONDS)
        self.time = end
        for _ in range(beats):
            for act in self.every_beat:
                act()
        due = [act for at, act in self.once if at <= end]
        self.once = [(at, act) for at, act in self.once if at > end]
        for act in due:
            act()

    def now(self) -> float:
        return self.time


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(str(tmp_path))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def lease(storage: FolderStorage, world: World) -> Callable[[], Lease]:
    return lambda: Lease(storage, KEY, world.sleep, world.now)


Make = Callable[[], Lease]


def test_the_first_has_it_at_once(lease: Make, world: World, storage: FolderStorage) -> None:
    first = lease()
    first.take("x")
    first.heartbeat()
    assert world.time == 0
    first.give_back()
    assert storage.list("") == {}
    lease().take("x")
    assert world.time == 0  # nobody has to wait for what was given back


def test_a_second_is_refused_while_the_first_lives(lease: Make, world: World) -> None:
    first, second = lease(), lease()
    first.take("x")
    world.every_beat.append(first.heartbeat)
    with pytest.raises(UserError, match=r"^x is running on \S+ \(process \d+\); wait for it"):
        second.take("x")
    assert world.time <= BEAT_SECONDS
    second.give_back()  # of which it has none
    first.heartbeat()


def test_a_dead_drivers_is_taken_over(lease: Make, world: World) -> None:
    dead, next_one = lease(), lease()
    dead.take("x")
    next_one.take("x")
    assert (
        LEASE_TIMEOUT_SECONDS <= world.time <= LEASE_TIMEOUT_SECONDS + BEAT_SECONDS + SETTLE_SECONDS
    )
    next_one.heartbeat()
    with pytest.raises(StorageError, match="another driver took the experiment over"):
        dead.heartbeat()  # it was only stopped, or cut off
    dead.give_back()
    next_one.heartbeat()


def test_one_that_is_given_back_meanwhile_is_had_at_once(lease: Make, world: World) -> None:
    first, second = lease(), lease()
    first.take("x")
    world.once.append((3.0, first.give_back))
    second.take("x")
    assert world.time < LEASE_TIMEOUT_SECONDS
    second.heartbeat()
    with pytest.raises(StorageError):
        first.heartbeat()


def test_of_two_takers_the_last_writer_has_it(
    lease: Make, world: World, storage: FolderStorage
) -> None:
    dead, early, late = lease(), lease(), lease()
    dead.take("x")
    # `late` looked at the same time, and writes while `early` waits to see whether it is alone.
    world.once.append((LEASE_TIMEOUT_SECONDS + SETTLE_SECONDS / 2, late._write))
    with pytest.raises(UserError, match=r"^x was just started by another driver"):
        early.take("x")
    assert late._is_mine() and not early._is_mine()
    late.heartbeat()


def test_what_nobody_can_read_is_waited_for_like_any_other(
    lease: Make, world: World, storage: FolderStorage
) -> None:
    storage.put_bytes(b"\x00 damaged", KEY)
    lease().take("x")
    assert world.time >= LEASE_TIMEOUT_SECONDS
    changes = iter(range(100))
    world.every_beat.append(lambda: storage.put_bytes(b"[%d]" % next(changes), KEY))
    with pytest.raises(UserError, match=r"^x is running on another machine"):
        lease().take("x")


def test_it_says_who_has_it(lease: Make, storage: FolderStorage) -> None:
    first = lease()
    first.take("x")
    first.heartbeat()
    fields = json.loads(storage.get_bytes(KEY) or b"")
    assert fields["holder"] == first.holder and fields["beats"] == 2
    assert set(fields) == {"holder", "beats", "host", "process"}
