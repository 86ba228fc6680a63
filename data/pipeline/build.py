"""From a `CorpusSpec` to a finished corpus folder: the stages in their order.

Everything is made in a hidden folder beside the corpus, which takes its final name only when it is
whole. A lock, which the system gives back even after `kill -9`, keeps two preparations apart and
shows which left-overs are stale.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minigpt_search.data.cleaning.clean import clean
from minigpt_search.data.common.documents import Document, batched
from minigpt_search.data.common.downloads import Downloads
from minigpt_search.data.common.errors import FULL, UserError
from minigpt_search.data.common.files import only_process
from minigpt_search.data.common.formatting import counted, duration
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.common.versions import TEXT_LIBRARIES, versions
from minigpt_search.data.corpus.manifest import (
    SPLITS,
    Manifest,
    write_manifest,
)
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.filtering.annotate import annotate, preload
from minigpt_search.data.filtering.exact_duplicates import RepeatFilter
from minigpt_search.data.filtering.treatment import Treatment, treatment_of
from minigpt_search.data.pipeline.cluster import Cluster
from minigpt_search.data.pipeline.counts import CountingReader, reasons_of_rows
from minigpt_search.data.pipeline.prepared import is_prepared
from minigpt_search.data.pipeline.sharded import read_sharded
from minigpt_search.data.pipeline.source_lines import (
    cautions,
    check_each_source_gives,
    check_enough_text,
    plan_line,
    source_line,
)
from minigpt_search.data.pipeline.workers import Workers
from minigpt_search.data.sources.resolve import check_sources, resolve_sources
from minigpt_search.data.splitting.document_table import DocumentTable
from minigpt_search.data.splitting.repetition import repetition
from minigpt_search.data.splitting.write_splits import write_splits
from minigpt_search.data.tokenizers.choose import check_tokenizer
from minigpt_search.data.tokenizers.gpt2 import bpe_files

MANY_DOCUMENTS = 2_000
"""With as many documents to come, worker processes start while the first are being read."""


def prepare_corpus(
    spec: CorpusSpec,
    root: Path,
    quiet: bool = False,
    workers: int | None = None,
    cluster: Cluster | None = None,
) -> Path:
    """Make the corpus that `spec` describes, if it is not there yet, and return its folder.

    Args:
        spec: what the corpus is to hold.
        root: see `data/common/paths.py`; downloads and the corpus go below it.
        quiet: print nothing, draw no progress bars.
        workers: processes; None: one for each core that this process may use. The corpus does not
            depend on it.
        cluster: a Ray cluster to do the work, instead of processes of this machine. The corpus does
            not depend on it.

    Raises:
        UserError: a corpus of that name was made from another spec; or a source, the network or
            the disk failed.
    """
    folder = root / "corpus" / spec.name
    new = [path for path in folder.parents if not path.exists()]
    progress = Progress(quiet)
    try:
        if not folder.exists():
            check_tokenizer(spec.tokenizer)  # before anything is made or downloaded
            check_sources(spec)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_process(folder.parent / f".{spec.name}.lock", progress.say_waiting):
            # asked here, as another process may have made it while this one waited
            if not is_prepared(spec, root, folder, quiet):
                _prepare_in_place(spec, root, folder, progress, workers, cluster)
    except OSError as error:  # a full disk, no permission, a file where a folder should be
        where, why = error.filename or folder, error.strerror or error
        mend = "make room or choose" if error.errno in FULL else "choose"
        raise UserError(f"{where}: {why}: {mend} another --out") from None
    finally:
        for path in new:  # left empty by a failure
            with suppress(OSError):
                path.rmdir()
    return folder


def _prepare_in_place(
    spec: CorpusSpec,
    root: Path,
    folder: Path,
    progress: Progress,
    workers: int | None,
    cluster: Cluster | None,
) -> None:
    """Make the corpus in a hidden folder, and rename that when the corpus is whole."""
    work = folder.parent / f".{spec.name}.unfinished"
    shutil.rmtree(work, ignore_errors=True)  # of a preparation that was killed: we hold the lock
    work.mkdir()
    try:
        started = time.perf_counter()
        manifest = _build(spec, root, work, progress, workers, cluster)
        write_manifest(manifest, work)
        os.replace(work, folder)
        if cluster is not None:  # only now: until the corpus is there, a run can go on from them
            cluster.remove_shards(spec.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not progress.quiet:
        print(_summary(manifest, folder, time.perf_counter() - started))


def _build(
    spec: CorpusSpec,
    root: Path,
    work: Path,
    progress: Progress,
    workers: int | None,
    cluster: Cluster | None,
) -> Manifest:
    """Write the segment files into `work`, and return the manifest."""
    spool = work / "spool"
    spool.mkdir()
    with DocumentTable(spool) as table:
        with Downloads(root / "downloads", progress) as downloads:
            sources = resolve_sources(spec, downloads, root)
            treatment = treatment_of(spec, sources)
            if treatment.needs_gpt2:
                bpe_files(root, progress)  # small, and here while archives are coming
            if not progress.quiet:
                print(plan_line(spec, sources), flush=True)
            reader = CountingReader(sources)
            with progress.stage("read_clean_encode"):
                if cluster is None:
                    _read_all(spec, root, reader, table, treatment, progress, workers)
                else:
                    read_sharded(spec, root, cluster, reader, table, treatment, progress, workers)
                table.flush()
        progress.seconds["download"] = downloads.seconds
        with progress.stage("duplicates"), progress.bar("duplicates", total=1) as bar:
            validation = [n for n, source in enumerate(sources) if source.is_validation]
            exact, near = repetition(table, treatment, validation)
            bar.update()
        kept = np.flatnonzero(reasons_of_rows(table, exact, near) == 0)
        empty = reader.manifest_counts(table, exact, near, np.zeros(len(sources), np.int64))
        check_each_source_gives(empty["sources"], table.samples)
        check_enough_text(empty["sources"], int(table.text_bytes[kept].sum()))
        corpus = write_splits(spec, root, work, table, kept, sources, progress)
    shutil.rmtree(spool)
    counts = reader.manifest_counts(table, exact, near, corpus.source_tokens)
    return Manifest(
        name=spec.name,
        content_hash=corpus.content_hash,
        documents_sha256=corpus.documents_sha256,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        options=spec.options(),
        tokenizer=corpus.tokenizer.record(),
        splits=corpus.splits,
        storage_bytes=sum(
            file.size_bytes for split in corpus.splits.values() for file in split.files
        ),
        stage_seconds={name: round(value, 3) for name, value in progress.seconds.items()},
        cpu_seconds={name: round(value, 3) for name, value in reader.cpu_seconds.items()},
        versions=versions(("torch", *TEXT_LIBRARIES)),
        notes=[*cautions(counts["sources"], table.samples), *corpus.notes],
        **counts,
    )


def _read_all(
    spec: CorpusSpec,
    root: Path,
    reader: CountingReader,
    table: DocumentTable,
    treatment: Treatment,
    progress: Progress,
    workers: int | None,
) -> None:
    """Read, clean, drop repeats, judge, sign and encode every document, as one stream.

    Cleaning and annotating run in the worker processes. What must see all documents in order, which
    is whether they repeat others, is decided between the two, in this process. Batches are made
    anew after it, since what is left of one may be little.
    """
    annotate_batch = partial(annotate, root=root, seed=spec.seed, treatment=treatment)
    clean_batch = partial(clean, web=treatment.web)
    repeats = RepeatFilter(treatment.without_repeats)
    total = reader.documents_known()
    with Workers(workers) as pool, progress.bar("documents", total=total, unit="doc") as bar:
        if total and total >= MANY_DOCUMENTS and treatment.needs_gpt2:
            pool.start(partial(preload, root))

        def clean_batches() -> Iterator[list[Document]]:
            for documents, seconds in pool.map(clean_batch, batched(reader.read(bar))):
                reader.add_seconds({"clean": seconds})
                yield documents

        for batch in pool.map(annotate_batch, batched(repeats.keep_new(clean_batches()))):
            table.append(batch)
            reader.add_seconds(batch.cpu_seconds)
    reader.dropped.update(repeats.dropped)
    reader.removed.update(repeats.removed)


def _tokenizer_line(record: dict[str, Any]) -> list[str]:
    """How large the vocabulary is, where it is not GPT-2's."""
    if record["name"] == "gpt2":
        return []
    size = record["vocab_size"]
    is_full = record.get("kind") != "bpe" or record["name"] == f"bpe:{size}"
    fewer = "" if is_full else "; the text gives no more"
    return [f"tokenizer  {record['name']}: {size:,} entries{fewer}"]


def _summary(manifest: Manifest, folder: Path, seconds: float) -> str:
    splits = manifest.splits
    counts = ", ".join(f"{splits[name].tokens:,} {name}" for name in SPLITS)
    lines = [
        *(f"source     {source_line(entry)}" for entry in manifest.sources),
        *(f"note       {note}" for entry in manifest.sources for note in entry["notes"]),
        *_tokenizer_line(manifest.tokenizer),
        f"tokens     {counts} ({counted(len(splits['train'].files), 'segment')})",
        f"documents  {manifest.documents_kept:,} of {manifest.documents_in:,} kept; validation "
        f"rests on {splits['val'].documents:,} of them, the test on {splits['test'].documents:,}",
        *(f"note       {note}" for note in manifest.notes),
        f"corpus     {folder} ({duration(seconds)})",
    ]
    return "\n".join(lines)
