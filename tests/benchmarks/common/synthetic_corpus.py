"""A corpus of made-up tokens, of any size: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from minigpt_search.data.corpus.manifest import Manifest, Split, write_manifest
from minigpt_search.data.splitting.segments import save_segment

VOCAB_SIZE = 300
CHUNK = 10_000_000
"""Tokens made at a time."""


def write_synthetic_corpus(
    folder: Path, train_tokens: int, eval_tokens: int = 200, segments: int = 1
) -> None:
    """Segments of a noisy cycle of tokens, and the two other splits. Memory: some segments."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def noisy_cycle(size: int) -> npt.NDArray[np.uint16]:
        tokens = np.empty(size, np.uint16)
        last = 0
        for part in np.array_split(tokens, max(1, size // CHUNK)):
            summed = last + np.cumsum(1 + generator.integers(0, 2, len(part)))
            part[:] = summed % VOCAB_SIZE
            last = int(part[-1])
        return tokens

    def write(size: int, *names: str) -> Split:
        files = tuple(save_segment(folder / name, noisy_cycle(size)) for name in names)
        tokens = size * len(names)
        return Split(documents=1, tokens=tokens, bytes=4 * tokens, files=files)

    numbers = range(segments)
    splits = {
        "train": write(train_tokens // segments, *(f"segment_{n:02d}.pt" for n in numbers)),
        "val": write(eval_tokens, "val.pt"),
        "test": write(eval_tokens, "test.pt"),
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
