"""A run's length, and which sequences it takes in which order."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.batching.order import epoch_order, evenly_spaced, spread_evenly
from minigpt_search.model.config import TrainConfig
from minigpt_search.model.run_length import run_length


def test_the_assignment_s_baseline() -> None:
    length = run_length(TrainConfig(), 64, 156_248)
    assert (length.sequences, length.steps_per_epoch) == (156_248, 4_883)
    assert (length.total_steps, length.warmup_steps) == (14_649, 500)


@given(
    batch=st.integers(1, 50),
    epochs=st.integers(1, 5),
    sequences=st.integers(50, 500),
    tokens=st.none() | st.integers(400, 10_000),
)
def test_an_epoch_has_every_sequence_in_its_budget_and_the_last_batch_may_be_short(
    batch: int, epochs: int, sequences: int, tokens: int | None
) -> None:
    config = TrainConfig(batch_size=batch, epochs=epochs, tokens_per_epoch=tokens, warmup_steps=0)
    length = run_length(config, 8, sequences)
    assert length.sequences == (sequences if tokens is None else min(sequences, tokens // 8))
    assert length.steps_per_epoch == math.ceil(length.sequences / batch)
    assert length.total_steps == epochs * length.steps_per_epoch


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(batch_size=36, warmup_steps=0), "batch_size=36: an epoch has only 35"),
        (TrainConfig(tokens_per_epoch=7, warmup_steps=0), "an epoch has only 0 sequences of 8"),
        (TrainConfig(batch_size=8, warmup_steps=15), "warmup_steps=15: the whole run has 15"),
    ],
)
def test_an_impossible_length_is_refused(config: TrainConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_length(config, 8, 35)


def test_warm_up_as_a_share_of_the_run() -> None:
    config = TrainConfig(batch_size=8, epochs=4, warmup_steps=None, warmup_fraction=0.1)
    assert run_length(config, 8, 35).warmup_steps == 2


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
