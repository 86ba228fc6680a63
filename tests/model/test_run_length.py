"""How long a run is: against the data set's own length, and against plain counting."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.model.run_length import RunLength, run_length, sequences_in


def of(config: TrainConfig, sequences: int = 35) -> RunLength:
    """The length of a run on so many sequences of 8 tokens."""
    return run_length(RunConfig(model=ModelConfig(seq_len=8), train=config), sequences)


def test_the_recipe_s_baseline() -> None:
    length = run_length(RunConfig(), 156_248)
    assert (length.sequences, length.steps_per_epoch) == (156_248, 4_883)
    assert (length.total_steps, length.warmup_steps) == (14_649, 500)


def test_tokens_per_epoch_limits_an_epoch() -> None:
    length = RunLength.of(RunConfig().replace(tokens_per_epoch=10_000), 156_248)
    # 10,000 // 64 = 156 sequences, ceil(156 / 32) = 5 batches
    assert (length.sequences, length.steps_per_epoch, length.tokens_per_epoch) == (156, 5, 9_984)
    assert length.sequences_available == 156_248
    assert length.total_tokens == 3 * 9_984


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 300), min_size=1, max_size=4).map(tuple),
    seq_len=st.integers(1, 60),
)
def test_sequences_are_those_of_the_data_set(
    make_corpus: Callable[..., Corpus], tokens: tuple[int, ...], seq_len: int
) -> None:
    corpus = make_corpus(train=tokens)
    assert [file.tokens for file in corpus.manifest.splits["train"].files] == list(tokens)
    assert sequences_in(tokens, seq_len) == len(corpus.dataset("train", seq_len))


@given(
    tokens=st.lists(st.integers(0, 5_000), min_size=1, max_size=6),
    seq_len=st.integers(1, 200),
)
def test_sequences_are_the_windows_with_a_next_token(tokens: list[int], seq_len: int) -> None:
    windows = [start for n in tokens for start in range(0, n - seq_len, seq_len)]
    assert sequences_in(tokens, seq_len) == len(windows)


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
    length = of(config, sequences)
    batches = [range(length.sequences)[k : k + batch] for k in range(0, length.sequences, batch)]
    assert length.sequences == (sequences if tokens is None else min(sequences, tokens // 8))
    assert length.steps_per_epoch == math.ceil(length.sequences / batch) == len(batches)
    assert length.total_steps == epochs * length.steps_per_epoch
    seen = 0
    for step, taken in enumerate(batches * epochs):
        assert length.tokens_after(step) == seen
        seen += 8 * len(taken)
    assert length.tokens_after(length.total_steps) == length.total_tokens == seen


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(batch_size=36, warmup_steps=0), "batch_size=36: an epoch has only 35"),
        (TrainConfig(tokens_per_epoch=7, warmup_steps=0), "an epoch has only 0 sequences of 8"),
        (TrainConfig(batch_size=8, warmup_steps=15), "warmup_steps=15: the whole run has 15"),
    ],
)
def test_an_impossible_length_is_refused_but_can_be_told(config: TrainConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        of(config)
    told = RunLength.of(RunConfig(model=ModelConfig(seq_len=8), train=config), 35)
    assert told.sequences == (35 if config.tokens_per_epoch is None else 0)


def test_warm_up_as_a_share_of_the_run() -> None:
    config = TrainConfig(batch_size=8, epochs=4, warmup_steps=None, warmup_fraction=0.1)
    assert of(config).warmup_steps == 2


def test_it_is_counted_without_torch() -> None:
    code = "import sys, minigpt_search.model.run_length; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
