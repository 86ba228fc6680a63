"""Which sequences of a split an epoch trains on, and in which order.

Shapes: n sequences of an epoch.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def evenly_spaced(n: int, available: int) -> Tensor:
    """The indices of `n` sequences spread evenly over 0 … available - 1, ascending: (n,) int64."""
    return spread_evenly(torch.arange(n), available)


def spread_evenly(order: Tensor, available: int) -> Tensor:
    """Turn `order`, a permutation of 0 … n - 1, into one of `evenly_spaced(n, available)`, in place
    and without a second list as long: (n,) int64."""
    return order.mul_(available).floor_divide_(max(len(order), 1))


def epoch_order(n: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 … n - 1 that depends on seed and epoch alone: (n,) int64.

    It is drawn from a generator of its own, so that a resumed run has the same order without
    replaying the epochs before, and dropout's draws don't change it.
    """
    digest = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()
    # Hashed: with seed + epoch, seed 0's second epoch would have the order of seed 1's first.
    # Shifted: 63 bits fit torch's signed integers.
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(n, generator=generator)
