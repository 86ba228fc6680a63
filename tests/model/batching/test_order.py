"""Which sequences a run takes, in which order."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.model.batching.order import (
    epoch_order,
    evenly_spaced,
    spread_evenly,
    text_of,
    training_order,
)


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


SPLITS = st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))


@given(SPLITS, st.integers(0, 9), st.integers(2, 4))
def test_a_run_under_wsd_begins_with_the_first_epoch_of_each_shorter_one(
    sizes: tuple[int, int, int], seed: int, epoch: int
) -> None:
    n, longer, available = sizes[0], sizes[0] + sizes[1], sum(sizes)
    order = partial(training_order, seed=seed, schedule="wsd")
    first = order(n, available, epoch=1).tolist()
    assert order(longer, available, epoch=1)[:n].tolist() == first
    assert len(set(first)) == n and set(first) <= set(range(available))
    text = text_of(n, available, seed=seed, schedule="wsd").tolist()
    assert text == sorted(first) == sorted(order(n, available, epoch=epoch).tolist())
    # Later epochs come in an order that depends on seed and epoch alone.
    again = torch.tensor(text)[epoch_order(n, seed=seed, epoch=epoch)]
    assert torch.equal(order(n, available, epoch=epoch), again)


@given(n=st.integers(1, 60), more=st.integers(0, 60), epoch=st.integers(1, 3))
def test_a_whole_split_and_other_schedules_keep_the_order_that_they_had(
    n: int, more: int, epoch: int
) -> None:
    whole = epoch_order(n, seed=7, epoch=epoch)
    assert torch.equal(training_order(n, n, seed=7, epoch=epoch, schedule="wsd"), whole)
    assert torch.equal(text_of(n, n, seed=7, schedule="wsd"), torch.arange(n))
    for schedule in ("linear", "cosine"):
        order = training_order(n, n + more, seed=7, epoch=epoch, schedule=schedule)
        assert torch.equal(order, evenly_spaced(n, n + more)[whole])
        assert torch.equal(
            text_of(n, n + more, seed=7, schedule=schedule), evenly_spaced(n, n + more)
        )
