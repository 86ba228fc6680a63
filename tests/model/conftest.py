"""Tiny corpora and configurations, so that a whole run takes well under a second."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.data.corpus.manifest import Manifest, Split
from minigpt_search.data.splitting.segments import save_segment
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig

MakeCorpus = Callable[..., Corpus]

VOCAB = 60
SEQ_LEN = 8


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The bits of a CPU result depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> MakeCorpus:
    """`make_corpus(seed=0, train=(151, 140), val=90)`: a corpus of that many tokens a segment.

    Its tokens follow a noisy cycle, so that there is something to learn.
    """

    def make(seed: int = 0, train: tuple[int, ...] = (151, 140), val: int = 90) -> Corpus:
        folder = tmp_path_factory.mktemp("corpus")
        generator = np.random.default_rng(seed)
        digest = hashlib.sha256()

        def write(name: str, size: int) -> Split:
            noise = generator.integers(0, 2, size)
            tokens = np.cumsum(1 + noise).astype(np.uint16) % VOCAB
            digest.update(tokens.tobytes())
            file = save_segment(folder / name, tokens)
            return Split(documents=1, tokens=size, bytes=4 * size, files=(file,))

        parts = [write(f"segment_{n:02d}.pt", size) for n, size in enumerate(train)]
        total = sum(train)
        splits = {
            "train": Split(
                documents=1,
                tokens=total,
                bytes=4 * total,
                files=tuple(part.files[0] for part in parts),
            ),
            "val": write("val.pt", val),
            "test": write("test.pt", val),
        }
        manifest = Manifest(
            name="tiny",
            content_hash=digest.hexdigest(),
            created_at="2026-11-22T00:00:00Z",
            options={},
            tokenizer={"name": "cycle", "vocab_size": VOCAB},
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
        return Corpus(folder, manifest)

    return make


@pytest.fixture(scope="session")
def corpus(make_corpus: MakeCorpus) -> Corpus:
    """35 training sequences of 8 tokens in two segments, 11 validation sequences."""
    return make_corpus()


@pytest.fixture
def tiny() -> RunConfig:
    """Three epochs of five steps with dropout; the last batch of an epoch is short (35 = 4·8+3)."""
    return RunConfig(
        model=ModelConfig(vocab_size=VOCAB, seq_len=SEQ_LEN, embed_dim=16, n_layers=1, n_heads=2),
        train=TrainConfig(batch_size=8, epochs=3, lr_peak=1e-2, warmup_steps=3),
    )


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_checkpoint(**model_fields)`: a `final.pt` with random weights."""
    from minigpt_search.model.network.gpt import GPT
    from minigpt_search.model.training.checkpoint import save_atomically

    def make(**fields: object) -> Path:
        config = RunConfig().replace(**fields)
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("checkpoint") / "final.pt"
        model = GPT(config.model)
        save_atomically({"config": config.to_dict(), "model": model.state_dict()}, path)
        return path

    return make
