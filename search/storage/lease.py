"""One driver at a time for each experiment, also across machines: an object that its driver keeps
changing.

Object stores have no locks that a dead machine gives back, and machines' clocks differ. So whoever
finds the object there watches whether it changes, by its own clock; if it doesn't, its driver is
gone. Two that take it over at once both read it again after a while, and the last writer has it.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage.base import Storage, StorageError

FILE = "driver.json"
BEAT_SECONDS = 2.0
LEASE_TIMEOUT_SECONDS = 10.0
"""Without a change, until it counts as left. Its driver sees at its next change that it lost it."""
SETTLE_SECONDS = 1.0
"""Between taking it and looking whether somebody else did too."""


class Lease:
    """The right to write an experiment's ledger."""

    def __init__(
        self,
        storage: Storage,
        key: str,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key`: of the object."""
        self.storage, self.key, self.sleep, self.now = storage, key, sleep, now
        self.holder = uuid.uuid4().hex
        self.beats = 0
        self.beaten_at = now()

    def take(self, name: str) -> None:
        """Raises `UserError` if another driver of experiment `name` has it and lives."""
        seen = self.storage.get_bytes(self.key)
        deadline = self.now() + LEASE_TIMEOUT_SECONDS
        while seen is not None and self.now() < deadline:
            self.sleep(BEAT_SECONDS / 2)
            found = self.storage.get_bytes(self.key)
            if found is None:
                break
            if found != seen:
                raise UserError(f"{name} is running{_where(found)}; wait for it, or end it there")
        self._write()
        self.sleep(SETTLE_SECONDS if seen is not None else 0.0)
        if not self._is_mine():
            raise UserError(f"{name} was just started by another driver; wait for it")

    def heartbeat(self) -> None:
        """Change it. Raises `StorageError` if it is somebody else's by now, or can't be."""
        if not self._is_mine():
            raise StorageError(self.storage.uri, "another driver took the experiment over")
        self._write()

    def give_back(self) -> None:
        """Nobody has to wait for it."""
        if self._is_mine():
            self.storage.delete(self.key)

    def _write(self) -> None:
        self.beats += 1
        content = {
            "holder": self.holder,
            "beats": self.beats,
            "host": socket.gethostname(),
            "process": os.getpid(),
        }
        self.storage.put_bytes(json.dumps(content).encode(), self.key)
        self.beaten_at = self.now()

    def _is_mine(self) -> bool:
        found = self.storage.get_bytes(self.key)
        return found is not None and _fields(found).get("holder") == self.holder


def _fields(content: bytes) -> dict[str, object]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _where(content: bytes) -> str:
    fields = _fields(content)
    if "host" not in fields:
        return " on another machine"
    return f" on {fields['host']} (process {fields.get('process')})"
