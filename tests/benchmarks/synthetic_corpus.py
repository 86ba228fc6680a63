"""A corpus of made-up tokens, for `throughput.py --quick`: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.manifest import Manifest, Split, write_manifest
from data.segments import save_segment

VOCAB_SIZE = 300


def write_synthetic_corpus(folder: Path, train_tokens: int, eval_tokens: int = 200) -> None:
    """One segment of a noisy cycle of tokens, and the two other splits."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def write(name: str, size: int) -> Split:
        steps = 1 + generator.integers(0, 2, size)
        file = save_segment(folder / name, (np.cumsum(steps) % VOCAB_SIZE).astype(np.uint16))
        return Split(documents=1, tokens=size, bytes=4 * size, files=(file,))

    splits = {
        "train": write("segment_00.pt", train_tokens),
        "val": write("val.pt", eval_tokens),
        "test": write("test.pt", eval_tokens),
    }
    manifest = Manifest(
        name="synthetic",
        content_hash="0" * 64,
        created_at="2026-11-22T00:00:00Z",
        options={},
        tokenizer={"name": "cycle", "vocab_size": VOCAB_SIZE},
        sources=[],
        quality_rules=[],
        documents_in=3,
        documents_kept=3,
        retention=1.0,
        splits=splits,
        storage_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        stage_seconds={},
        versions={},
    )
    write_manifest(manifest, folder)
