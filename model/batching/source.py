"""How batches reach the device: from the memory map, or from a copy of the split that lies there.

Shapes: N sequences of a split, B of a batch, T tokens of one.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model import notes

SHARE_OF_FREE_MEMORY = 0.1
"""A split that takes less than this share of a GPU's free memory, and of what this process may have
of the GPU, is copied there; a larger one stays on disk, and each batch goes over. Trials that share
a GPU each have a copy."""


class BatchSource(Protocol):
    """Serves sequences of a split by their indices."""

    def prepare_indices(self, indices: Tensor) -> Tensor:
        """The indices (n,) on the device where `batch` reads the split; called once for an
        epoch's, so that a step copies none."""
        ...

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The sequences at `indices` (B,) and their targets on the device, (B, T) int64 each."""
        ...


class MappedBatches:
    """Reads batches from the memory map and copies them to the device without waiting for it."""

    def __init__(self, dataset: SegmentedTextDataset, device: str) -> None:
        self.dataset, self.device = dataset, torch.device(device)

    def prepare_indices(self, indices: Tensor) -> Tensor:
        """The indices (n,) as they are: the map is read by the CPU."""
        return indices

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The sequences at `indices` (B,), on the CPU, and their targets, on the way to the device:
        (B, T) int64 each."""
        windows = self.dataset.windows(indices)  # (B, T + 1)
        if self.device.type == "cuda":
            # Only pinned memory in one piece is copied in the background: a part of the rows would
            # first be copied to memory that is not pinned.
            windows = windows.pin_memory()
        windows = windows.to(self.device, non_blocking=True)
        return windows[:, :-1], windows[:, 1:]


class ResidentBatches:
    """Takes batches from a copy of the whole split on the device: a few kernel launches, and no
    work for the CPU."""

    def __init__(self, dataset: SegmentedTextDataset, device: str) -> None:
        self.windows = _windows(dataset, device)  # (N, T + 1)

    def prepare_indices(self, indices: Tensor) -> Tensor:
        """The indices (n,) on the device, where the copy is."""
        return indices.to(self.windows.device)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The sequences at `indices` (B,), of either device, and their targets: (B, T) int64
        each."""
        tokens = self.windows[self.prepare_indices(indices)].to(torch.int64)  # (B, T + 1)
        return tokens[:, :-1], tokens[:, 1:]


def batch_source(dataset: SegmentedTextDataset, device: str) -> BatchSource:
    """The fastest source for this device and this size of a split."""
    if torch.device(device).type == "cuda":
        free, total = torch.cuda.mem_get_info()
        own = torch.cuda.get_per_process_memory_fraction() * total
        if _window_bytes(dataset) < SHARE_OF_FREE_MEMORY * min(free, own):
            return ResidentBatches(dataset, device)
        notes.note(
            "the training text takes too much of the GPU's memory to be copied there, so each "
            "batch goes over by itself"
        )
    return MappedBatches(dataset, device)


def _window_bytes(dataset: SegmentedTextDataset) -> int:
    """What `_windows` takes of the device's memory."""
    return len(dataset) * (dataset.seq_len + 1) * torch.int32.itemsize


def _windows(dataset: SegmentedTextDataset, device: str) -> Tensor:
    """All examples, target included: (N, T + 1) int32 on the device. The host never holds more than
    4,096 of them."""
    made = torch.empty(len(dataset), dataset.seq_len + 1, dtype=torch.int32, device=device)
    for rows in torch.arange(len(dataset)).split(4096):
        made[int(rows[0]) : int(rows[-1]) + 1] = dataset.windows(rows).int().to(device)
    return made
