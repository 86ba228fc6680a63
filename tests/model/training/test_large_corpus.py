"""A run on a corpus of 1.1 GB: of all that grows with it, only the epoch's order is in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.data.corpus.manifest import SegmentFile, Split
from minigpt_search.model.config import RunConfig
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.loop import Run

SEQ_LEN = 128


def test_steps_on_a_large_corpus(
    make_corpus: Callable[..., Corpus],
    tiny: RunConfig,
    huge_segments: list[Path],
    own_memory: Callable[[], int],
) -> None:
    small = make_corpus(train=(10 * SEQ_LEN,), val=2 * SEQ_LEN)
    files = []
    for path in huge_segments:
        link = small.folder / f"huge-{path.name}"
        link.symlink_to(path)
        files.append(SegmentFile(name=link.name, tokens=2**26, sha256="", size_bytes=0))
    split = Split(documents=1, tokens=2**29, bytes=2**31, files=tuple(files))
    manifest = dataclasses.replace(small.manifest, splits={**small.manifest.splits, "train": split})
    config = tiny.replace(seq_len=SEQ_LEN)
    Run(config, small, "cpu", None, 45.0, Hooks())  # what a first one allocates for good

    before = own_memory()
    run = Run(config, Corpus(small.folder, manifest), "cpu", None, 45.0, Hooks())
    batches = run.batches_left()
    for indices in islice(batches, 20):
        run.step(indices)
    sequences = 8 * ((2**26 - 1) // SEQ_LEN)
    assert run.length.sequences == sequences
    assert len(next(batches)) == config.train.batch_size
    assert own_memory() - before < 8 * sequences + 40e6
