"""What a worker does with a shard: clean it, and later annotate what of it is new.

Each stage reads files of a shard and leaves another (`data/pipeline/shards.py`); what is there is
not made again. The work itself is that of a preparation on one machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from minigpt_search.data.cleaning.clean import clean
from minigpt_search.data.common.documents import Document, batched
from minigpt_search.data.filtering.annotate import AnnotatedBatch, annotate
from minigpt_search.data.filtering.exact_duplicates import (
    Decisions,
    Digests,
    digest,
    without_repeats,
)
from minigpt_search.data.filtering.treatment import Treatment
from minigpt_search.data.pipeline.shards import (
    CLEANED,
    DECIDED,
    RAW,
    Arrays,
    load_arrays,
    pack_clean,
    read_raw_shard,
    save_arrays,
    shard_file,
    unpack_clean,
)

Counts = Counter[tuple[int, str]]
_COLUMNS = ("order_keys", "text_bytes", "characters", "signatures", "lengths", "tokens")
"""The fields of `AnnotatedBatch` that are arrays."""


@dataclass(frozen=True, kw_only=True)
class ShardStage:
    """One of the two stages of a preparation that run on a cluster. It can be pickled."""

    name: str
    """The file that it makes: CLEANED or ANNOTATED."""
    folder: Path
    root: Path
    """The folder below which the tokenizer's files are, the same on all nodes."""
    seed: int
    treatment: Treatment

    def __call__(self, number: int) -> None:
        """Make the file of shard `number`, if it is not there."""
        path = shard_file(self.folder, self.name, number)
        if path.exists():
            return
        make = self._cleaned if self.name == CLEANED else self._annotated
        save_arrays(path, make(number))

    def _cleaned(self, number: int) -> Arrays:
        documents: list[Document] = []
        seconds = 0.0
        for batch in batched(read_raw_shard(shard_file(self.folder, RAW, number))):
            own, own_seconds = clean(batch, web=self.treatment.web)
            documents += own
            seconds += own_seconds
        digests = digest(documents)
        return {
            **pack_clean(documents),
            **{f"digest_{each.name}": getattr(digests, each.name) for each in fields(digests)},
            "clean_seconds": np.array(seconds),
        }

    def _annotated(self, number: int) -> Arrays:
        cleaned = load_arrays(shard_file(self.folder, CLEANED, number))
        decided = load_arrays(shard_file(self.folder, DECIDED, number))
        kept, dropped, removed = without_repeats(
            unpack_clean(cleaned),
            unpack_digests(cleaned),
            Decisions(**decided),
            self.treatment.without_repeats,
        )
        batches = [
            annotate(batch, root=self.root, seed=self.seed, treatment=self.treatment)
            for batch in batched(kept)
        ]
        return {
            **_pack_counts(dropped, DROPPED),
            **_pack_counts(removed, REMOVED),
            **_pack_annotated(batches),
        }


def unpack_digests(cleaned: Arrays) -> Digests:
    """The digests in a shard's cleaned file."""
    return Digests(**{each.name: cleaned[f"digest_{each.name}"] for each in fields(Digests)})


DIGEST_ARRAYS = tuple(f"digest_{each.name}" for each in fields(Digests))


DROPPED, REMOVED = "dropped", "removed"
"""What `without_repeats` counts, as the arrays in a shard's annotated file are named."""


def _pack_counts(counts: Counts, what: str) -> Arrays:
    return {
        f"{what}_sources": np.array([source for source, _ in counts], np.int32),
        f"{what}_reasons": np.array([reason for _, reason in counts], np.str_),
        f"{what}_counts": np.array(list(counts.values()), np.int64),
    }


def unpack_counts(annotated: Arrays, what: str) -> Counts:
    """What `without_repeats` counted in a shard, DROPPED or REMOVED, by (source, reason)."""
    names = (f"{what}_sources", f"{what}_reasons", f"{what}_counts")
    rows = zip(*(annotated[name].tolist() for name in names), strict=True)
    return Counter({(source, reason): count for source, reason, count in rows})


def _pack_annotated(batches: Sequence[AnnotatedBatch]) -> Arrays:
    if not batches:
        return {}
    seconds = _sum_seconds(batches)
    return {
        "sources": np.concatenate([np.array(each.sources, np.int32) for each in batches]),
        "numbers": np.concatenate([np.array(each.numbers, np.int64) for each in batches]),
        "failed": np.concatenate([np.array(each.failed, np.str_) for each in batches]),
        **{name: np.concatenate([getattr(each, name) for each in batches]) for name in _COLUMNS},
        "sample_sources": np.array([s for each in batches for s, _ in each.samples], np.int32),
        "samples": np.array([text for each in batches for _, text in each.samples], np.str_),
        "stages": np.array(list(seconds), np.str_),
        "seconds": np.array(list(seconds.values())),
    }


def _sum_seconds(batches: Iterable[AnnotatedBatch]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for each in batches:
        total.update(each.cpu_seconds)
    return dict(total)


def unpack_annotated(arrays: Arrays) -> AnnotatedBatch | None:
    """The documents in a shard's annotated file; None if there are none."""
    if "sources" not in arrays:
        return None
    return AnnotatedBatch(
        sources=arrays["sources"].tolist(),
        numbers=arrays["numbers"].tolist(),
        samples=list(
            zip(arrays["sample_sources"].tolist(), arrays["samples"].tolist(), strict=True)
        ),
        failed=arrays["failed"].tolist(),
        cpu_seconds=dict(zip(arrays["stages"].tolist(), arrays["seconds"].tolist(), strict=True)),
        **{name: arrays[name] for name in _COLUMNS},
    )
