"""Batches of both sources against the data set's own, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.data.splitting.segments import save_segment
from minigpt_search.data.tokenizers.base import token_dtype
from minigpt_search.model.batching import source as batch_source
from minigpt_search.model.batching.order import epoch_order
from minigpt_search.model.batching.source import MappedBatches, ResidentBatches
from minigpt_search.model.batching.source import batch_source as choose

SOURCES = [MappedBatches, ResidentBatches]


@pytest.fixture(params=[50_257, 128_256])
def dataset(tmp_path: Path, request: pytest.FixtureRequest) -> SegmentedTextDataset:
    """Three segments, one too short for an example, with ids on both sides of int16's end; of a
    vocabulary that needs 16 bits, and of one that needs more."""
    generator = np.random.default_rng(0)
    sizes = (151, 5, 140)
    for number, size in enumerate(sizes):
        tokens = generator.integers(0, request.param, size).astype(token_dtype(request.param))
        save_segment(tmp_path / f"{number}.pt", tokens)
    return SegmentedTextDataset([tmp_path / f"{n}.pt" for n in range(len(sizes))], seq_len=8)


@pytest.mark.parametrize("make", SOURCES)
def test_an_epoch_of_batches_is_the_data_set_s(
    make: Callable[..., MappedBatches | ResidentBatches], dataset: SegmentedTextDataset
) -> None:
    source = make(dataset, "cpu")
    order = epoch_order(len(dataset), seed=3, epoch=2)
    for indices in source.prepare_indices(order).split(4):
        for ours, theirs in zip(source.batch(indices), dataset.batch(indices), strict=True):
            assert ours.dtype == torch.int64
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("free", "expected"), [(10**6, "resident"), (10**4, "mapped")])
def test_a_gpu_gets_the_split_if_it_takes_a_small_share_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, dataset: SegmentedTextDataset, free: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 10**9))
    monkeypatch.setattr(batch_source, "ResidentBatches", lambda *args: "resident")
    monkeypatch.setattr(batch_source, "MappedBatches", lambda *args: "mapped")
    assert len(dataset) * 9 * 4 == 1260  # int32 windows
    assert choose(dataset, "cuda") == choose(dataset, "cuda:1") == expected


def test_a_cpu_reads_the_memory_map(dataset: SegmentedTextDataset) -> None:
    assert isinstance(choose(dataset, "cpu"), MappedBatches)
