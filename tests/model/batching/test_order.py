"""Which sequences a run takes, in which order."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.model.batching.order import epoch_order, evenly_spaced, spread_evenly


@given(n=st.integers(1, 300), more=st.integers(0, 300))
def test_evenly_spaced_indices_are_distinct_and_their_gaps_differ_by_one_at_most(
    n: int, more: int
) -> None:
    indices = evenly_spaced(n, n + more).tolist()
    assert len(indices) == n
    assert indices[0] == 0
    gaps = [b - a for a, b in zip(indices, [*indices[1:], n + more], strict=True)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@given(n=st.integers(1, 300), more=st.integers(0, 300), seed=st.integers(0, 9))
def test_an_order_spread_evenly_takes_the_evenly_spaced_in_that_order(
    n: int, more: int, seed: int
) -> None:
    order = epoch_order(n, seed=seed, epoch=1)
    expected = evenly_spaced(n, n + more)[order]
    assert torch.equal(spread_evenly(order, n + more), expected)


@given(n=st.integers(1, 300), seed=st.integers(0, 2**63 - 1), epoch=st.integers(1, 1000))
def test_epoch_order_is_a_permutation_that_leaves_the_global_random_state(
    n: int, seed: int, epoch: int
) -> None:
    state = torch.get_rng_state()
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, epoch_order(n, seed=seed, epoch=epoch))
    assert torch.equal(torch.get_rng_state(), state)


def test_epoch_order_differs_by_epoch_and_seed() -> None:
    pairs = [(seed, epoch) for seed in (0, 1, 2) for epoch in (1, 2, 3)]
    assert len({tuple(epoch_order(50, seed=s, epoch=e).tolist()) for s, e in pairs}) == 9
