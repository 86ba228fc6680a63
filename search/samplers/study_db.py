"""`study.db`: the experiment in Optuna's own format, for `optuna-dashboard` and its plots.

Each state of the file is the ledger's at some moment, and it is never read back: the ledger is the
search's memory. It grows while the search runs (`search/driver/live_study.py`) and is written whole
when a run begins and ends. SQLite's rollback journal makes each change whole or undone, also after
a kill, for whoever opens the file next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from minigpt_search.data.common.files import atomic_file
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.samplers.study_rows import StudyRows, empty_study

FILE = "study.db"
PATIENCE_SECONDS = 2.0
"""How long a reader that locks the file is waited for."""


def write_study(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Make `study.db` hold the ledger's trials and nothing else. Raises OSError if it can't be."""
    StudyFile(experiment, folder).write(ledger.trials)


class StudyFile:
    """The `study.db` of one experiment, to which trials are added."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.path = experiment, folder / FILE
        self.rows = StudyRows(experiment)

    def write(self, records: Sequence[TrialRecord]) -> None:
        """Replace what it holds by these trials. Raises OSError if it can't be."""
        try:
            with empty_study(self.experiment) as study:
                self.rows.insert(study, records, 0)
                study.commit()
                self._replace(study)
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from None
        finally:
            for left_over in self.path.parent.glob(f"{FILE}.*.tmp*"):
                with suppress(OSError):
                    left_over.unlink()

    def _replace(self, study: sqlite3.Connection) -> None:
        """In place, for a dashboard that has the file open; or else by another file."""
        try:
            _copy(study, self.path)
        except sqlite3.Error:  # damaged, not to be written to, or locked for long
            with atomic_file(self.path) as file:  # an empty file is an empty database
                _copy(study, Path(file.name))
                # It would undo in the new file what was left half-done in the old one.
                self.path.with_name(f"{FILE}-journal").unlink(missing_ok=True)

    def add(self, records: Sequence[TrialRecord], first: int) -> None:
        """Append these trials, the first with the number `first`, all or none. Raises OSError if
        they can't be, or if the file holds another number of trials than `first`."""
        try:
            with closing(_connect(self.path, "rw")) as study, study:
                # To wait for the disk takes twice the processor that the rest does. A kill finds
                # it whole all the same; a power cut may not, and the next run makes it anew.
                study.execute("PRAGMA synchronous = OFF")
                study.execute("BEGIN IMMEDIATE")
                (count,) = study.execute("SELECT COUNT(*) FROM trials").fetchone()
                if count != first:
                    raise OSError(f"{self.path}: holds {count} trials instead of {first}")
                self.rows.insert(study, records, first)
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from None


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """`mode` is SQLite's: `rw` for a file that is there, `rwc` makes one."""
    address = f"{path.absolute().as_uri()}?mode={mode}"  # a path may hold a `?` or `#`
    return sqlite3.connect(address, uri=True, timeout=PATIENCE_SECONDS)


def _copy(study: sqlite3.Connection, path: Path) -> None:
    """Make the database at `path` what `study` is, in one transaction. Raises `sqlite3.Error`,
    also where a reader locks it for long."""

    def give_up(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # Python would wait for ever
            raise sqlite3.OperationalError("database is locked")

    with closing(_connect(path, "rwc")) as target:
        study.backup(target, progress=give_up)
