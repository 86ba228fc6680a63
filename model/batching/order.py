"""Which sequences of a split an epoch trains on, and in which order.

An epoch limited by `tokens_per_epoch` takes sequences evenly from all over the split. Under the
schedule wsd it takes the first ones of an order of the whole split, so that a longer run begins
with all that a shorter one has in its first epoch (`model/training/trunk.py`).

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


def text_of(n: int, available: int, *, seed: int, schedule: str) -> Tensor:
    """The `n` sequences out of `available` that a run trains on, ascending: (n,) int64."""
    if schedule != "wsd" or n == available:
        return evenly_spaced(n, available)
    return _first(n, available, seed).sort().values


def training_order(n: int, available: int, *, seed: int, epoch: int, schedule: str) -> Tensor:
    """Those of `text_of` in the order of this epoch: (n,) int64."""
    if schedule == "wsd" and n < available:
        if epoch == 1:
            return _first(n, available, seed)
        text = text_of(n, available, seed=seed, schedule=schedule)
        return text[epoch_order(n, seed=seed, epoch=epoch)]
    return spread_evenly(epoch_order(n, seed=seed, epoch=epoch), available)


def _first(n: int, available: int, seed: int) -> Tensor:
    """The first `n` of the first epoch of a run on the whole split."""
    return epoch_order(available, seed=seed, epoch=1)[:n].clone()  # a view would keep them all
