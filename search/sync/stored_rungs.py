"""The rungs of an experiment's trials as its storage has them, for a worker that decides whether a
trial goes on (`search/early_stopping/rungs.py`)."""

from __future__ import annotations

import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minigpt_search.search.early_stopping.rule import RungHistory
from minigpt_search.search.early_stopping.rungs import FILE, in_ledger, parse_rungs
from minigpt_search.search.storage.base import Entry, Storage
from minigpt_search.search.storage.uri import experiment_key

AT_ONCE = 16
"""How many files are read at a time."""


class StoredRungs:
    """Reads each file once, until it changes: one listing a look, and what is new in it."""

    def __init__(self, storage: Storage, name: str) -> None:
        """`name`: the experiment's."""
        self.storage, self.home = storage, experiment_key(name)
        self._files: dict[str, tuple[Entry, RungHistory | None]] = {}
        self._taken: dict[str, RungHistory] | None = None

    def scored(self, exclude: str) -> list[RungHistory]:
        """The trials that have rungs, but for the one of id `exclude`. Raises `StorageError`."""
        if self._taken is None:
            self._taken = self._taken_over()
        listed = self.storage.list(f"{self.home}/checkpoints")
        there = {key: entry for key, entry in listed.items() if key.endswith(f"/{FILE}")}
        new = [key for key in there if self._files.get(key, (None,))[0] != there[key]]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for key, content in zip(new, pool.map(self.storage.get_bytes, new), strict=True):
                self._files[key] = (there[key], parse_rungs(content))
        found = dict(self._taken)
        for key, (_, scored) in self._files.items():
            if key in there and scored is not None:
                found[key.split("/")[-2]] = scored
        found.pop(exclude, None)
        return [scored for scored in found.values() if scored.rungs]

    def _taken_over(self) -> dict[str, RungHistory]:
        """Trials that other experiments trained: they have no file, and are in the ledger before
        the first worker starts."""
        with tempfile.TemporaryDirectory() as folder:
            ledger = "ledger.jsonl"
            self.storage.get(f"{self.home}/{ledger}", Path(folder) / ledger)
            return in_ledger(Path(folder))


@functools.lru_cache(maxsize=1)
def stored_rungs(storage: Storage, name: str) -> StoredRungs:
    """A process' own: its next trial reads nothing again. For each trial to read the files of all
    others would be 2,000 requests at the thousandth."""
    return StoredRungs(storage, name)
