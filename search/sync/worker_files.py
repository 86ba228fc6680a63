"""Where a worker keeps the files of its trials: in the experiment's folder, or with `--storage` in
one of its node, a copy of what the storage holds.

Below $MINIGPT_NODE_HOME, else in a folder of this user's below the system's temporary one, a node
has for each storage the layout of `data/common/paths.py`: the corpus, fetched once and hashed, and
the folders of the trials that run on it, which go when their trial has ended.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import only_process
from minigpt_search.model.hardware.device import versions
from minigpt_search.model.records import FAILED
from minigpt_search.model.training.checkpoint_files import STEP_CHECKPOINTS_KEPT
from minigpt_search.search.early_stopping.rule import RungHistory
from minigpt_search.search.early_stopping.rungs import FILE as RUNGS_FILE
from minigpt_search.search.early_stopping.rungs import all_scored
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.provenance import check_versions
from minigpt_search.search.records.trial_folder import STARTED_FILE, read_outcome, trial_folder
from minigpt_search.search.storage.base import Storage, StorageError
from minigpt_search.search.storage.corpus_copy import fetch_corpus
from minigpt_search.search.storage.open import open_storage
from minigpt_search.search.storage.uploads import Uploads
from minigpt_search.search.storage.uri import experiment_key
from minigpt_search.search.sync.stored_rungs import stored_rungs

SMALL = (STARTED_FILE, RUNGS_FILE, "outcome.json")
"""Of a trial's folder, what its next start reads beside checkpoints."""


class WorkerFiles:
    """Without `--storage`: the experiment's own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, trial_ids: Sequence[str]) -> None:
        """Bring here what earlier starts of the trials left."""

    def wrote(self, path: Path) -> None:
        """A small file of a trial was written."""

    def wrote_checkpoint(self, path: Path) -> None:
        """A step checkpoint was written, of a trial that began here or for one that is to begin."""

    def has_begun(self, trial_id: str) -> bool:
        """Whether the trial was ever started."""
        return (trial_folder(self.folder, trial_id) / STARTED_FILE).exists()

    def ended(self, trial_id: str) -> None:
        """The trial's outcome was written, its last act."""

    def scored(self, exclude: str) -> list[RungHistory]:
        """The trials of the experiment that have rungs, but for the one of id `exclude`."""
        return all_scored(self.folder, exclude)


class SyncedWorkerFiles(WorkerFiles):
    """A node's copy. Every method raises `StorageError`."""

    def __init__(self, storage: Storage, experiment: Experiment, folder: Path, held: ExitStack):
        super().__init__(folder)
        self.storage, self.experiment = storage, experiment
        self.home = f"{experiment_key(experiment.name)}/checkpoints"
        self._held = held
        self._over: set[str] = set()
        self._there: dict[str, list[str]] = {}
        """Step checkpoints in the storage by trial, newest first."""
        self._uploads: Uploads | None = None

    def begin(self, trial_ids: Sequence[str]) -> None:
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for trial_id in sorted(trial_ids):
            # The process of an earlier start may not know yet that its driver is gone.
            lock = self.folder / "checkpoints" / f".{trial_id}.lock"
            self._held.enter_context(only_process(lock, lambda: None))
            self._fetch(trial_id)

    def _fetch(self, trial_id: str) -> None:
        """The storage has the last word; but a newer checkpoint may be here, where the trial's
        process ended before it was uploaded."""
        folder = trial_folder(self.folder, trial_id)
        start = len(f"{self.home}/{trial_id}/")
        names = [key[start:] for key in self.storage.list(f"{self.home}/{trial_id}")]
        if STARTED_FILE not in names:  # left of another experiment of that name
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        steps = sorted((name for name in names if name.startswith("step_")), reverse=True)
        self._there[trial_id] = steps
        if "outcome.json" in names:
            self._over.add(trial_id)
        elif (record := read_outcome(folder)) is not None and record.status != FAILED:
            self.ended(trial_id)  # the storage could not be reached when it did
            return
        for name in SMALL:
            if name not in names or not self.storage.get(self._key(trial_id, name), folder / name):
                (folder / name).unlink(missing_ok=True)
        for name in steps[:STEP_CHECKPOINTS_KEPT]:
            if not (folder / name).exists():
                self.storage.get(self._key(trial_id, name), folder / name)

    def wrote(self, path: Path) -> None:
        self.storage.put(path, self._key(path.parent.name, path.name))

    def wrote_checkpoint(self, path: Path) -> None:
        if path.parent.name not in self._there:
            self.wrote(path)  # now: the trial may begin on another node when this one ends
            shutil.rmtree(path.parent)
            return
        self._uploads = self._uploads or Uploads(self._put_checkpoint)
        self._uploads.add(path)

    def has_begun(self, trial_id: str) -> bool:
        return self._key(trial_id, STARTED_FILE) in self.storage.list(f"{self.home}/{trial_id}")

    def _put_checkpoint(self, path: Path) -> None:
        """Put a checkpoint, and delete there what `model.training.checkpoint.save_step` deletes
        here."""
        trial_id = path.parent.name
        self.wrote(path)
        there = self._there.setdefault(trial_id, [])
        names = sorted({path.name, *there}, reverse=True)
        kept = [name for name in names if name <= path.name][:STEP_CHECKPOINTS_KEPT]
        for name in names:
            if name not in kept:
                self.storage.delete(self._key(trial_id, name))
        self._there[trial_id] = kept

    def ended(self, trial_id: str) -> None:
        folder = trial_folder(self.folder, trial_id)
        record = read_outcome(folder)
        failed = record is None or record.status == FAILED
        if self._uploads is not None:
            if failed:  # it may go on from its newest checkpoint
                self._uploads.flush()
            self._uploads.drop(trial_id)
        for name in ("final.pt", "error.log", "outcome.json"):  # that one last: then it is over
            if (folder / name).exists():
                self.wrote(folder / name)
        for name in [] if failed else self._there.pop(trial_id, []):
            self.storage.delete(self._key(trial_id, name))
        self._over.add(trial_id)

    def scored(self, exclude: str) -> list[RungHistory]:
        return stored_rungs(self.storage, self.experiment.name).scored(exclude)

    def close(self) -> None:
        """Let go of the trials; of those that are over nothing stays here."""
        if self._uploads is not None:
            self._uploads.close()
            self._uploads = None
        for trial_id in self._over:
            shutil.rmtree(trial_folder(self.folder, trial_id), ignore_errors=True)

    def _key(self, trial_id: str, name: str) -> str:
        return f"{self.home}/{trial_id}/{name}"


def node_home() -> Path:
    """The node's own folder; only this user enters it. Raises `UserError` where somebody else owns
    it."""
    given = os.environ.get("MINIGPT_NODE_HOME")
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = str(os.getuid())
    home = Path(given or Path(tempfile.gettempdir()) / f"minigpt-node-{name}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.lstat().st_uid != os.getuid():  # nor a link that somebody else put there
        raise UserError(f"{home}: is somebody else's; set MINIGPT_NODE_HOME to a folder of yours")
    return home.absolute()


def node_root(uri: str) -> Path:
    """The node's own root for what is in the storage at `uri`. Raises `UserError`."""
    return node_home() / hashlib.sha256(uri.encode()).hexdigest()[:12]


@contextmanager
def worker_files(
    experiment_folder: Path, storage: str | None
) -> Iterator[tuple[WorkerFiles, Experiment]]:
    """Where this worker works, and the plan. Raises `StorageError`.

    Args:
        storage: its URI; then of `experiment_folder` only the name counts.
    """
    if storage is None:
        yield WorkerFiles(experiment_folder), read_experiment(experiment_folder)
        return
    try:
        opened = open_storage(storage)
        folder = node_root(storage) / "experiments" / experiment_folder.name
        experiment = _fetch_experiment(opened, folder)
    except UserError as error:  # no trial's fault
        raise StorageError(storage, str(error)) from None
    with ExitStack() as held:
        files = SyncedWorkerFiles(opened, experiment, folder, held)
        try:
            yield files, experiment
        finally:
            files.close()


def _fetch_experiment(storage: Storage, folder: Path) -> Experiment:
    """Plan and corpus of the experiment that works in `folder`. Raises `StorageError`, `UserError`
    for what came damaged or a node with other libraries."""
    key = f"{experiment_key(folder.name)}/experiment.json"
    if not storage.get(key, folder / "experiment.json"):
        raise StorageError(storage.uri, f"there is no {key}")
    experiment = read_experiment(folder)
    check_versions(
        versions(), experiment.provenance.versions, socket.gethostname()
    )  # it may have joined late
    corpus, home = experiment.corpus.name, experiment.corpus_folder(folder)
    if not fetch_corpus(storage, corpus, home, experiment.corpus.content_hash):
        raise StorageError(storage.uri, f"there is no corpus {corpus}")
    return experiment
