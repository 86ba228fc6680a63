"""What the readers of one source share: how it is to be read, and what is to be said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import SKIP, CorpusSpec

COLUMNS_TOLD = 10
"""The most columns that a note names."""
NAMES_TOLD = 3
"""The most files that a note names."""


class NotText(UserError):
    """A file is whole, but holds no text of the kind that its name says. Among other files of a
    folder it is passed over, with a note; alone it is refused."""


@dataclass(kw_only=True)
class Reading:
    """One source while it is read."""

    spec: CorpusSpec
    root: Path
    """Where the tokenizer's files are, or are fetched to."""
    flag: str = "--source"
    """The flag that named it, for messages."""
    notes: list[str] = field(default_factory=list)
    """As in `Source`."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """As in `Source`."""
    first_bad_row: UserError | None = None
    """Why the first row was passed over."""
    unused_columns: dict[str, None] = field(default_factory=dict)
    """The columns of rows that no text was made of, in the order in which they came."""
    _told: dict[str, list[str]] = field(default_factory=dict)
    """For each kind of note the first names that it is about, and the last one."""
    _times: Counter[str] = field(default_factory=Counter)

    def where(self, file: Path) -> str:
        """How a message names a file."""
        return f"{self.flag} {file}"

    def begin(self, notes: Sequence[str]) -> None:
        """Begin to read, perhaps again; `notes` are known already."""
        self.notes[:] = notes
        self.passed_over.clear()
        self._told.clear()
        self.unused_columns.clear()
        self._times.clear()
        self.first_bad_row = None

    def tell(self, what: str, name: str = "") -> None:
        """Have a note that says `what`, with the first names that it is true of and their number.
        A name that comes several times in a row counts once."""
        names = self._told.setdefault(what, [])
        if name and name not in names[-1:]:
            del names[NAMES_TOLD:]
            names.append(name)
            self._times[what] += 1

    def end(self) -> None:
        """Write the notes of all that was told."""
        if self.unused_columns:
            names = list(self.unused_columns)
            rest = len(names) - COLUMNS_TOLD
            more = f" and {rest:,} more" if rest > 0 else ""
            self.notes.append(f"columns not used: {', '.join(names[:COLUMNS_TOLD])}{more}")
        for what, names in self._told.items():
            some = ", ".join(names[:NAMES_TOLD])
            rest = self._times[what] - NAMES_TOLD
            more = f" and {rest:,} more" if rest > 0 else ""
            self.notes.append(f"{what}: {some}{more}" if names else what)

    def bad_row(self, error: UserError) -> None:
        """Pass over a row and count it, where that is asked for; else raise the error."""
        if self.spec.bad_rows != SKIP:
            raise UserError(f"{error}; `--bad-rows skip` passes over such rows")
        self.first_bad_row = self.first_bad_row or error
        self.passed_over["bad_row"] += 1
