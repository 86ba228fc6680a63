"""Batches of both sources against the data set's own, to the bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.data.splitting.segments import save_segment
from minigpt_search.data.tokenizers.base import token_dtype
from minigpt_search.model import notes
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


@pytest.mark.parametrize(
    ("free", "share", "expected"),
    [(10**6, 1.0, "resident"), (10**4, 1.0, "mapped"), (10**6, 1e-5, "mapped")],
)
def test_a_gpu_gets_the_split_if_it_takes_a_small_share_of_its_memory(
    monkeypatch: pytest.MonkeyPatch,
    dataset: SegmentedTextDataset,
    free: int,
    share: float,
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 10**9))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: share)
    monkeypatch.setattr(batch_source, "ResidentBatches", lambda *args: "resident")
    monkeypatch.setattr(batch_source, "MappedBatches", lambda *args: "mapped")
    assert len(dataset) * 9 * 4 == 1260  # int32 windows
    notes.begin()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the training text", RuntimeWarning)
        assert choose(dataset, "cuda") == choose(dataset, "cuda:1") == expected
    assert len(notes.kept()) == (expected == "mapped")


def test_a_batch_goes_to_a_gpu_in_one_piece_from_pinned_memory(
    monkeypatch: pytest.MonkeyPatch, dataset: SegmentedTextDataset
) -> None:
    pinned: list[torch.Tensor] = []
    sent: list[bool] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        assert device.type == "cuda" and non_blocking
        sent.append(tensor is pinned[-1])
        return tensor

    source = MappedBatches(dataset, "cuda")
    windows = dataset.windows(torch.arange(4))
    monkeypatch.setattr(dataset, "windows", lambda indices: windows)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    x, y = source.batch(torch.arange(4))
    assert [t.shape for t in pinned] == [(4, 9)] and sent == [True]
    assert pinned[0].is_contiguous()
    assert torch.equal(x, windows[:, :-1]) and torch.equal(y, windows[:, 1:])


def test_a_cpu_reads_the_memory_map(dataset: SegmentedTextDataset) -> None:
    assert isinstance(choose(dataset, "cpu"), MappedBatches)
