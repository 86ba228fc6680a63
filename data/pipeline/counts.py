"""The counts of a preparation by source: what came in, what was dropped and why, what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Piece, RawDocument, Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.filtering.quality import RULES
from minigpt_search.data.pipeline.document_table import DocumentTable


class CountingReader:
    """Reads the sources of one preparation, and counts what comes in and what becomes of it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._documents_in: Counter[int] = Counter()
        self._characters_in: Counter[int] = Counter()
        self.dropped: Counter[tuple[int, str]] = Counter()
        """The number of documents dropped before they were annotated, by (source, reason)."""
        self.cpu_seconds: dict[str, float] = {}
        """Processor seconds by kind of work, summed over the processes."""

    def documents_known(self) -> int | None:
        """The number of documents that there are to read; None if a source doesn't tell."""
        known = [source.documents for source in self._sources if source.documents is not None]
        return sum(known) if len(known) == len(self._sources) else None

    def read(self, bar: Any) -> Iterator[RawDocument]:
        """Yield the documents of all sources, one source after another, and count them."""
        for number, source in enumerate(self._sources):
            bar.set_postfix_str(source.name, refresh=False)  # a bar is shown after its delay
            for item in source.read():
                text = item.text if isinstance(item, Piece) else item
                self._documents_in[number] += 1
                self._characters_in[number] += len(text)
                bar.update()
                yield RawDocument(number, source.form, text)

    def input_counts(self) -> dict[str, list[int]]:
        """The documents and characters read of each source, for `set_input_counts`."""
        numbers = range(len(self._sources))
        return {
            "documents_in": [self._documents_in[number] for number in numbers],
            "characters_in": [self._characters_in[number] for number in numbers],
        }

    def set_input_counts(self, counts: dict[str, list[int]]) -> None:
        """Take over the `input_counts` of a reader that has read the same sources."""
        self._documents_in = Counter(dict(enumerate(counts["documents_in"])))
        self._characters_in = Counter(dict(enumerate(counts["characters_in"])))

    def add_seconds(self, seconds: dict[str, float]) -> None:
        """Add a batch's processor seconds."""
        for name, value in seconds.items():
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + value

    def manifest_counts(self, table: DocumentTable, new: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """The fields of the manifest that are counts. `new` (N,) is False for near-duplicates."""
        entries = [
            self._source_entry(number, source, table, new)
            for number, source in enumerate(self._sources)
        ]
        judged = int(new.sum())
        kept = sum(entry["documents_kept"] for entry in entries)
        reasons = dropped_by_reason(entries)
        return {
            "sources": entries,
            "quality_rules": [
                {
                    "rule": rule.name,
                    "description": rule.description,
                    "source": rule.source,
                    "dropped": reasons[rule.name],
                    "share": reasons[rule.name] / judged,
                }
                for rule in RULES
            ],
            "documents_in": sum(self._documents_in.values()),
            "documents_kept": kept,
            "retention": kept / judged,
        }

    def _source_entry(
        self, number: int, source: Source, table: DocumentTable, new: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        own = table.sources == number
        kept = own & new & (table.verdicts == 0)
        dropped = {reason: n for (index, reason), n in self.dropped.items() if index == number}
        dropped["near_duplicate"] = int((own & ~new).sum())
        for verdict, rule in enumerate(table.rules):
            if rule:
                dropped[rule] = int((own & new & (table.verdicts == verdict)).sum())
        return {
            "name": source.name,
            "title": source.title,
            "kind": source.kind,
            "licence": source.licence,
            "attribution": source.attribution,
            "url": source.url,
            "package": source.package,
            "sha256": source.sha256,
            "documents_in": self._documents_in[number],
            "documents_kept": int(kept.sum()),
            "characters_in": self._characters_in[number],
            "tokens": int(table.lengths[kept].sum()),
            "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        }


def dropped_by_reason(sources: Iterable[dict[str, Any]]) -> Counter[str]:
    """The number of documents dropped for each reason, over all of the manifest's sources."""
    reasons: Counter[str] = Counter()
    for source in sources:
        reasons.update(source["dropped"])
    return reasons


def check_enough_documents(counts: dict[str, Any]) -> None:
    """Raise `UserError`, with the reasons, where fewer documents than splits are left. `counts` is
    what `CountingReader.manifest_counts` gave."""
    if (kept := counts["documents_kept"]) >= 3:
        return
    dropped = dropped_by_reason(counts["sources"])
    why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
    judged = any(rule["dropped"] for rule in counts["quality_rules"])
    texts = any(".txt" in source["name"] + source["title"] for source in counts["sources"])
    parts = "; a short .txt is one document, unless lines <|endoftext|> part it"
    raise UserError(
        f"--source: {kept} of {counts['documents_in']:,} documents are left (dropped: "
        f"{why or 'none'}), at least 3 are needed, one for each split: give more text"
        f"{' or --no-quality-filter' if judged else ''}{parts if texts else ''}"
    )
