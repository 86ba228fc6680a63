"""The driver's side of `--storage`: its folder goes up, what the workers leave comes down.

The driver works on its own folder as it does without a storage, and is the ledger's only writer.
The ledger in the storage may lag behind by seconds; the workers' `outcome.json` there are what it
is completed from.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.records import FAILED
from minigpt_search.search.records.clock import FILE as CLOCK_FILE
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import encode
from minigpt_search.search.records.ledger_records import Record, TrialRecord
from minigpt_search.search.records.trial_folder import read_outcome, trial_folder
from minigpt_search.search.storage.base import Entry, Storage, StorageError
from minigpt_search.search.storage.corpus_copy import push_corpus
from minigpt_search.search.storage.lease import BEAT_SECONDS, Lease
from minigpt_search.search.storage.lease import FILE as LEASE_FILE
from minigpt_search.search.storage.uri import experiment_key

LEDGER = "ledger.jsonl"
OWN_FILES = ("experiment.json", LEDGER, CLOCK_FILE)
"""What the driver writes while it runs."""
AT_THE_END = (*OWN_FILES, "study.db")
"""The study is not sent while it grows: it would go up whole each time."""
AT_ONCE = 16
"""Small files that are fetched at a time."""
PUSHED_BYTES_A_SECOND = 200_000.0
"""Of the ledger at most, on average: an object can't be appended to, and the ledger of thousands of
trials is megabytes, which would go up at each heartbeat."""
LOST_SECONDS = 60.0
"""Without an answer of the storage, until the search ends."""


class Mirror:
    """Without `--storage`: the folder is all there is."""

    def fetch_trial(self, trial_id: str) -> None:
        """Bring what the worker of an ended trial left."""

    def push_trial(self, path: Path) -> None:
        """Keep a file that the driver wrote into a trial's folder."""

    def forget_outcome(self, trial_id: str) -> None:
        """Let a failed trial be tried again."""

    def forget_checkpoints(self, trial_id: str) -> None:
        """Drop what was left for a trial that is not to be."""

    def refresh(self, ledger: Ledger) -> None:
        """Bring what workers have left of the trials that haven't ended."""

    def push_plan(self) -> None:
        """Keep what a worker reads before the first one starts."""

    def check(self) -> None:
        """Raise `StorageError` if the storage is lost, or another driver has the experiment."""

    def finish(self) -> None:
        """Keep all that the driver wrote. Raises `StorageError`."""


class StorageMirror(Mirror):
    """Keeps a storage's copy of the experiment in `folder`, whose lock is held. `take` first,
    `close` at the end."""

    def __init__(self, storage: Storage, experiment: Experiment, folder: Path) -> None:
        self.storage, self.experiment, self.folder = storage, experiment, folder
        self.home = experiment_key(experiment.name)
        self.lease = Lease(storage, f"{self.home}/{LEASE_FILE}")
        self._pushed: dict[str, tuple[int, int]] = {}
        self._pushing = threading.Lock()
        self._ledger_due = 0.0
        self._fetched: dict[str, Entry] = {}
        self._fetched_all = threading.Event()
        """Before, what is here may be older than what is there, and must not replace it."""
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._lost: str | None = None

    def __reduce__(self) -> tuple[type[Mirror], tuple[()]]:
        """Tune pickles its callbacks into a file that nobody reads."""
        return Mirror, ()

    def take(self, corpus: Corpus) -> None:
        """Become the experiment's driver, and bring corpus and plan there. Raises `UserError` if
        there is another, or another corpus."""
        self.lease.take(self.experiment.name)
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        push_corpus(self.storage, corpus)

    def close(self) -> None:
        """Stop, and let another driver have it."""
        self._stop.set()
        if self._beating is not None:
            self._beating.join()
        if self._lost is None:
            with contextlib.suppress(StorageError):  # after Ctrl-C, say
                if self._fetched_all.is_set():
                    self.push(AT_THE_END)
                self.lease.give_back()

    def fetch_all(self, skip_damaged: bool) -> None:
        """Bring all but the weights, and what this folder's ledger lacks of the one there."""
        self._get(CLOCK_FILE)
        local = self.folder / "ledger.jsonl"
        if not local.exists():
            self._get(local.name)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                other = Path(temporary) / local.name
                if self.storage.get(f"{self.home}/{local.name}", other):
                    _merge(Ledger(local, skip_damaged), other)
        self.refresh(Ledger(local, skip_damaged))
        self._fetched_all.set()

    def refresh(self, ledger: Ledger) -> None:
        listed = self.storage.list(f"{self.home}/checkpoints")
        ended, start = ledger.ended(), len(f"{self.home}/checkpoints/")
        by_trial: dict[str, dict[str, Entry]] = {}
        for key, entry in listed.items():
            trial, _, name = key[start:].partition("/")
            by_trial.setdefault(trial, {})[name] = entry
        wanted = []
        for trial, files in by_trial.items():
            if trial in ended:
                for name in (n for n in files if n.startswith("step_")):
                    self.storage.delete(self._key(trial, name))
                continue
            wanted += [self._key(trial, name) for name in files if not name.endswith(".pt")]
        changed = [key for key in wanted if self._fetched.get(key) != listed[key]]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda key: self._get_dated(key, listed[key]), changed))
        self._forget_others(ended, set(wanted))

    def _get_dated(self, key: str, entry: Entry) -> None:
        """With the time it has there: unfinished trials are known by it
        (`search/driver/tuner.py`)."""
        path = self.folder / key.removeprefix(f"{self.home}/")
        if self.storage.get(key, path):
            os.utime(path, (entry.mtime, entry.mtime))
            self._fetched[key] = entry

    def _forget_others(self, ended: Iterable[str], there: set[str]) -> None:
        """Delete of a trial that hasn't ended what is here and no more there: another driver had it
        tried again."""
        for path in (self.folder / "checkpoints").glob("*/*.json"):
            trial = path.parent.name
            if trial not in ended and self._key(trial, path.name) not in there:
                path.unlink(missing_ok=True)

    def fetch_trial(self, trial_id: str) -> None:
        folder = trial_folder(self.folder, trial_id)
        self._get(f"checkpoints/{trial_id}/outcome.json")
        record = read_outcome(folder)
        if record is None or record.status == FAILED:
            for name in ("trial.json", "error.log"):
                self._get(f"checkpoints/{trial_id}/{name}")

    def push_trial(self, path: Path) -> None:
        self.storage.put(path, self._key(path.parent.name, path.name))

    def forget_outcome(self, trial_id: str) -> None:
        self.storage.delete(self._key(trial_id, "outcome.json"))

    def forget_checkpoints(self, trial_id: str) -> None:
        for key in self.storage.list(f"{self.home}/checkpoints/{trial_id}"):
            if key.rpartition("/")[2].startswith("step_"):
                self.storage.delete(key)

    def check(self) -> None:
        silent = self.lease.now() - self.lease.beaten_at
        if self._lost is None and silent > LOST_SECONDS:
            self._lost = f"{self.storage.uri}: no answer for {silent:.0f} s"
        if self._lost is not None:
            raise StorageError(self.storage.uri, self._lost.removeprefix(f"{self.storage.uri}: "))

    def push(self, names: Iterable[str] = OWN_FILES) -> None:
        """Those of the driver's files that have changed; the ledger of many trials only now and
        then, unless these are `AT_THE_END`."""
        with self._pushing:
            for name in names:
                if name == LEDGER and names is OWN_FILES and self.lease.now() < self._ledger_due:
                    continue
                path = self.folder / name
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                now = (stat.st_mtime_ns, stat.st_size)
                if self._pushed.get(name) != now:
                    self.storage.put(path, f"{self.home}/{name}")
                    self._pushed[name] = now
                    if name == LEDGER:
                        self._ledger_due = self.lease.now() + stat.st_size / PUSHED_BYTES_A_SECOND

    def push_plan(self) -> None:
        """Before the first worker: the plan, and the ledger and weights of trials that were taken
        over."""
        self.push()
        weights = sorted((self.folder / "checkpoints").glob("*/final.pt"))
        there = self.storage.list(f"{self.home}/checkpoints") if weights else {}
        for path in weights:
            if self._key(path.parent.name, path.name) not in there:
                self.push_trial(path)

    def finish(self) -> None:
        self.check()
        self.push(AT_THE_END)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self.lease.heartbeat()
                if self._fetched_all.is_set():
                    self.push()
            except OSError as error:  # the storage's own patience is over
                self._lost = str(error)
                return

    def _get(self, name: str) -> bool:
        return self.storage.get(f"{self.home}/{name}", self.folder / name)

    def _key(self, trial_id: str, name: str) -> str:
        return f"{self.home}/checkpoints/{trial_id}/{name}"


def _merge(ledger: Ledger, other: Path) -> None:
    """Append what a ledger of the same experiment, written by a driver elsewhere, has beyond."""
    known = set(ledger.path.read_bytes().split(b"\n"))
    ended = ledger.ended()
    theirs = Ledger(other, skip_damaged=True)
    records: list[Record] = [
        *theirs.baselines,
        *theirs.trials,
        *theirs.predictions,
        *theirs.reruns,
    ]
    for record in records:
        is_ended = isinstance(record, TrialRecord) and record.trial_id in ended
        if not is_ended and encode(record).strip() not in known:
            ledger.append(record)
