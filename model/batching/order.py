"""Which sequences a run trains on, in which order, and how many steps that makes."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def evenly_spaced(n: int, available: int) -> Tensor:
    """`n` of the indices 0 … available - 1, spread evenly: (n,) int64."""
    return spread_evenly(torch.arange(n), available)


def spread_evenly(order: Tensor, available: int) -> Tensor:
    """A permutation of 0 … n - 1 as one of `evenly_spaced(n, available)`, in place: (n,) int64."""
    return order.mul_(available).floor_divide_(max(len(order), 1))


def epoch_order(n: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 … n - 1 that depends on seed and epoch alone: (n,) int64.

    It has a generator of its own, so that a resumed run draws the same order without replaying
    the epochs before.
    """
    digest = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(n, generator=generator)
