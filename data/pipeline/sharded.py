"""Reading, cleaning and annotating past one machine: the documents of a preparation in shards.

The sources are read here, once and in order, into shards of raw text in a folder that all nodes
see. Ray Data cleans the shards (`data/pipeline/shard_stages.py`); which documents and paragraphs
are repetition is decided here in order, from their digests alone; Ray Data annotates what is left;
and the results are appended in order. So the corpus is to the byte that of one machine.

A file that is there is not made again, so that a killed preparation goes on where it was. The
folder's name is a hash of all that decides what is in it.

Memory here: one shard, and 8 to 16 bytes for each paragraph and document
(`data/filtering/exact_duplicates.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.documents import Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file, only_process
from minigpt_search.data.common.package import source_files
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.common.versions import versions
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.filtering.exact_duplicates import RepeatFilter
from minigpt_search.data.filtering.treatment import Treatment
from minigpt_search.data.pipeline.cluster import Cluster, prepare_environment
from minigpt_search.data.pipeline.counts import CountingReader
from minigpt_search.data.pipeline.shard_stages import (
    DIGEST_ARRAYS,
    DROPPED,
    REMOVED,
    ShardStage,
    unpack_annotated,
    unpack_counts,
    unpack_digests,
)
from minigpt_search.data.pipeline.shards import (
    ANNOTATED,
    CLEANED,
    DECIDED,
    load_arrays,
    save_arrays,
    shard_file,
    write_raw_shards,
)
from minigpt_search.data.splitting.document_table import DocumentTable
from minigpt_search.data.tokenizers.gpt2 import bpe_files

INDEX = "index.json"
"""The file that says how many shards of raw text there are, and what was counted while they were
made. It is written when all of them are there."""


def read_sharded(
    spec: CorpusSpec,
    root: Path,
    cluster: Cluster,
    reader: CountingReader,
    table: DocumentTable,
    treatment: Treatment,
    progress: Progress,
    workers: int | None,
) -> None:
    """Fill `reader` and `table` as a preparation in processes of this machine does.

    Args:
        workers: at most as many tasks at a time; None: as many as the cluster has cores.

    Raises:
        UserError: the sources, the cluster, or a file of a shard.
    """
    folder = cluster.folder(spec.name) / _key(spec, reader.sources, cluster.shard_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    prepare_environment(cluster)
    from minigpt_search.data.pipeline.ray_tasks import (  # Ray takes a second
        check_nodes,
        map_shards,
        ray_session,
    )

    # Another machine may prepare the corpus below another ROOT, with the same folder for shards.
    with only_process(cluster.work / f".{spec.name}.lock", progress.say_waiting):
        with ray_session(cluster, workers):
            check_nodes(folder)
            files = bpe_files(root, progress) if treatment.needs_gpt2 else ()
            count = _write_shards(folder, files, cluster.shard_bytes, reader, progress)
            for stage in (CLEANED, ANNOTATED):
                if stage == ANNOTATED:  # all shards are clean
                    _decide(folder, count, treatment)
                run = ShardStage(
                    name=stage,
                    folder=folder,
                    root=folder,  # the tokenizer's files have been copied into it
                    seed=spec.seed,
                    treatment=treatment,
                )
                left = [n for n in range(count) if not shard_file(folder, stage, n).exists()]
                with progress.bar(f"{stage} shards", total=count, initial=count - len(left)) as bar:
                    if left:
                        for _ in map_shards(run, left, workers):
                            bar.update()
        _append(folder, count, reader, table)


def _key(spec: CorpusSpec, sources: Sequence[Source], shard_bytes: int) -> str:
    """The hash of the input, the options, the libraries and this code: of all that decides the
    shards' files."""
    code = hashlib.sha256()
    for path in source_files("data").values():
        code.update(path.read_bytes())
    decides = {
        "options": spec.options(),
        "sources": [(source.name, source.form, source.sha256) for source in sources],
        "shard_bytes": shard_bytes,
        "versions": versions(),
        "code": code.hexdigest(),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def _write_shards(
    folder: Path,
    files: Sequence[Path],
    shard_bytes: int,
    reader: CountingReader,
    progress: Progress,
) -> int:
    """Write the raw text in shards, unless a run before has; returns how many there are. Without
    the index all are written again: only it says that none is missing. `files` are the tokenizer's,
    to which workers elsewhere have no other way."""
    for left in (*folder.glob("*.tmp"), *folder.glob("tries-*")):  # of a run that was killed
        left.unlink(missing_ok=True)
    index = folder / INDEX
    if index.exists():
        try:
            found = checked_json.unseal(checked_json.loads(index.read_bytes()))
        except ValueError as error:
            raise UserError(f"{index}: damaged ({error}): remove {folder}") from None
        reader.set_input_counts(found["counts"])
        return int(found["shards"])
    for path in files:
        copy = folder / "downloads" / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(copy) as file:
            file.write(path.read_bytes())
    with progress.bar("documents", total=reader.documents_known(), unit="doc") as bar:
        count = write_raw_shards(reader.read(bar), folder, shard_bytes)
    with atomic_file(index) as file:
        sealed = checked_json.seal({"shards": count, "counts": reader.input_counts()})
        file.write(json.dumps(sealed).encode())
    return count


def _decide(folder: Path, count: int, treatment: Treatment) -> None:
    """Write what is new in each shard, in order, since the first of each text is kept. After a kill
    the digests of all shards are read again: each decision rests on those before it."""
    repeats = RepeatFilter(treatment.without_repeats)
    for number in range(count):
        cleaned = load_arrays(shard_file(folder, CLEANED, number), *DIGEST_ARRAYS)
        decisions = repeats.decide(unpack_digests(cleaned))
        path = shard_file(folder, DECIDED, number)
        if not path.exists():
            new = {"documents": decisions.documents, "paragraphs": decisions.paragraphs}
            save_arrays(path, new)


def _append(folder: Path, count: int, reader: CountingReader, table: DocumentTable) -> None:
    """Put the annotated documents where a preparation on one machine puts them, in the order in
    which they were read."""
    for number in range(count):
        arrays = load_arrays(shard_file(folder, ANNOTATED, number))
        reader.dropped.update(unpack_counts(arrays, DROPPED))
        reader.removed.update(unpack_counts(arrays, REMOVED))
        if batch := unpack_annotated(arrays):
            table.append(batch)
            reader.add_seconds(batch.cpu_seconds)
        cleaned = load_arrays(shard_file(folder, CLEANED, number), "clean_seconds")
        reader.add_seconds({"clean": float(cleaned["clean_seconds"])})
