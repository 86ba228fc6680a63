"""Keeps `study.db` at what the ledger holds while a search runs, beside it and never in its way."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord

if TYPE_CHECKING:
    from minigpt_search.search.samplers.study_db import StudyFile

EVERY_SECONDS = 3.0
"""Between two looks at the ledger: all trials that ended in between are one transaction."""
AGAIN_SECONDS = 30.0
"""After the file could not be written to, until the next try."""
LAST_SECONDS = 10.0
"""The most that the end of a search waits for the last trials to be written."""


class LiveStudy:
    """A thread that adds what is new in the ledger to `study.db`.

    It first imports what study.db and the answer need, while Ray and the first workers start: 0.4 s
    that nobody then waits for.
    """

    def __init__(self, experiment: Experiment, folder: Path, ledger: Ledger) -> None:
        self.experiment, self.folder, self.ledger = experiment, folder, ledger
        self.file: StudyFile | None = None
        self.written: list[TrialRecord] | None = None
        """What the file holds; None while that isn't known."""
        self.failed = False
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="study.db", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        _import_late_modules()
        from minigpt_search.search.samplers.study_db import StudyFile

        self.file = StudyFile(self.experiment, self.folder)
        ending = False
        while not ending:
            self.update()
            ending = self._end.wait(AGAIN_SECONDS if self.failed else EVERY_SECONDS)
        self.update()

    def update(self) -> None:
        """Bring the file to what the ledger holds now; if it can't be, say so, once."""
        assert self.file is not None
        records = self.ledger.trials
        try:
            self._write(self.file, records)
        except OSError as error:
            self.written = None
            if not self.failed:
                self.failed = True
                text = f"  {error}: the search goes on, and writes it later or at its end"
                tqdm.write(text, file=sys.stderr)
            return
        self.written, self.failed = records, False

    def _write(self, file: StudyFile, records: list[TrialRecord]) -> None:
        known = self.written
        if known is None or any(a is not b for a, b in zip(known, records, strict=False)):
            file.write(records)  # a failed trial that was tried again is another, and in the end
        elif len(records) > len(known):
            file.add(records[len(known) :], len(known))


def _import_late_modules() -> None:
    study_db = "minigpt_search.search.samplers.study_db"
    for name in (study_db, "sqlalchemy.orm", "alembic.command", "scipy.special"):
        importlib.import_module(name)
