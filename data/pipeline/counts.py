"""The counts of a preparation by source: what came in, what was dropped and why, what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Piece, RawDocument, Source
from minigpt_search.data.filtering.exact_duplicates import CHARACTERS_REMOVED, LINES_REMOVED
from minigpt_search.data.filtering.quality import RULES
from minigpt_search.data.splitting.document_table import DocumentTable
from minigpt_search.data.splitting.repetition import EXACT_DUPLICATE, NEAR_DUPLICATE

Flags = npt.NDArray[np.bool_]
Counts = Counter[tuple[int, str]]


class CountingReader:
    """Reads the sources of one preparation, and counts what comes in and what becomes of it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._read = 0
        self._documents_in: Counter[int] = Counter()
        self._characters_in: Counter[int] = Counter()
        self.dropped: Counts = Counter()
        """The number of documents dropped before they were annotated, by (source, reason)."""
        self.removed: Counts = Counter()
        """The lines and characters removed inside of documents that stay, by (source, what)."""
        self.cpu_seconds: dict[str, float] = {}
        """Processor seconds by kind of work, summed over the processes."""

    def documents_known(self) -> int | None:
        """The number of documents that there are to read; None if a source doesn't tell."""
        known = [source.documents for source in self.sources if source.documents is not None]
        return sum(known) if len(known) == len(self.sources) else None

    def read(self, bar: Any) -> Iterator[RawDocument]:
        """Yield the documents of all sources, one source after another, and count them."""
        for number, source in enumerate(self.sources):
            bar.set_postfix_str(source.name, refresh=False)  # a bar is shown after its delay
            for item in source.read():
                text, ends = item if isinstance(item, Piece) else (item, True)
                self._characters_in[number] += len(text)
                yield RawDocument(number, source.form, text, self._read)
                if ends:
                    self._documents_in[number] += 1
                    self._read += 1
                    bar.update()

    def input_counts(self) -> dict[str, list[Any]]:
        """What was counted while reading, of each source, for `set_input_counts`."""
        numbers = range(len(self.sources))
        return {
            "documents_in": [self._documents_in[number] for number in numbers],
            "characters_in": [self._characters_in[number] for number in numbers],
            "passed_over": [dict(source.passed_over) for source in self.sources],
            "notes": [list(source.notes) for source in self.sources],
        }

    def set_input_counts(self, counts: dict[str, list[Any]]) -> None:
        """Take over the `input_counts` of a reader that has read the same sources."""
        self._documents_in = Counter(dict(enumerate(counts["documents_in"])))
        self._characters_in = Counter(dict(enumerate(counts["characters_in"])))
        for source, passed_over, notes in zip(
            self.sources, counts["passed_over"], counts["notes"], strict=True
        ):
            source.passed_over.update(passed_over)
            source.notes[:] = notes

    def add_seconds(self, seconds: dict[str, float]) -> None:
        """Add a batch's processor seconds."""
        for name, value in seconds.items():
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + value

    def manifest_counts(
        self, table: DocumentTable, exact: Flags, near: Flags, tokens: npt.NDArray[np.int64]
    ) -> dict[str, Any]:
        """The fields of the manifest that are counts.

        Args:
            exact: (N,) whether each row is of a document that came before.
            near: (N,) whether each is nearly the same as an earlier one.
            tokens: the tokens of each source in all splits.
        """
        reasons = reasons_of_rows(table, exact, near)
        entries = [
            self._source_entry(number, source, table, reasons, int(tokens[number]))
            for number, source in enumerate(self.sources)
        ]
        dropped = dropped_by_reason(entries)
        kept = sum(entry["documents_kept"] for entry in entries)
        judged = kept + sum(dropped[rule.name] for rule in RULES)
        return {
            "sources": entries,
            "quality_rules": [
                {
                    "rule": rule.name,
                    "description": rule.description,
                    "source": rule.source,
                    "dropped": dropped[rule.name],
                    "share": dropped[rule.name] / max(1, judged),
                }
                for rule in RULES
            ],
            "documents_in": sum(self._documents_in.values()),
            "documents_kept": kept,
            "retention": kept / max(1, judged),
        }

    def _source_entry(
        self,
        number: int,
        source: Source,
        table: DocumentTable,
        reasons: npt.NDArray[np.int64],
        tokens: int,
    ) -> dict[str, Any]:
        own = table.sources == number
        names = reason_names(table)
        kept = own & (reasons == 0)
        dropped = {reason: n for (index, reason), n in self.dropped.items() if index == number}
        gone = own & ~np.isin(table.numbers, table.numbers[kept])  # nothing of them is left
        _, first = np.unique(table.numbers[gone], return_index=True)
        for reason, count in Counter(reasons[gone][first].tolist()).items():
            dropped[names[reason]] = dropped.get(names[reason], 0) + count
        return {
            "name": source.name,
            "title": source.title,
            "kind": source.kind,
            "form": source.form,
            "filter": source.filter,
            "licence": source.licence,
            "attribution": source.attribution,
            "url": source.url,
            "package": source.package,
            "sha256": source.sha256,
            "documents_in": self._documents_in[number],
            "documents_kept": len(np.unique(table.numbers[kept])),
            "characters_in": self._characters_in[number],
            "characters_kept": int(table.characters[kept].sum()),
            "tokens": tokens,
            "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
            LINES_REMOVED: self.removed[number, LINES_REMOVED],
            CHARACTERS_REMOVED: self.removed[number, CHARACTERS_REMOVED],
            "passed_over": dict(sorted(source.passed_over.items())),
            "notes": list(source.notes),
        }


EMPTY = "empty"


def reason_names(table: DocumentTable) -> list[str]:
    """The names of the reasons that `reasons_of_rows` gives."""
    return ["", EMPTY, EXACT_DUPLICATE, NEAR_DUPLICATE, *table.rules[1:]]


def reasons_of_rows(table: DocumentTable, exact: Flags, near: Flags) -> npt.NDArray[np.int64]:
    """Why each row of the table is dropped, (N,), an index in `reason_names`; 0 where it stays."""
    failed = table.verdicts.astype(np.int64)
    reasons = np.where(failed > 0, failed + 3, 0)
    reasons[near] = 3
    reasons[exact] = 2
    reasons[table.text_bytes == 0] = 1
    return reasons


def dropped_by_reason(sources: Iterable[dict[str, Any]]) -> Counter[str]:
    """The number of documents dropped for each reason, over all of the manifest's sources."""
    reasons: Counter[str] = Counter()
    for source in sources:
        reasons.update(source["dropped"])
    return reasons
