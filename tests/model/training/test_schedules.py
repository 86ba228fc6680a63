"""The schedules against formulas written here, and what runs of several lengths have in common."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.model.run_length import RunLength, run_length
from minigpt_search.model.training.optim import lr_at
from minigpt_search.model.training.train import train

WSD = TrainConfig(
    batch_size=1, schedule="wsd", warmup_steps=None, warmup_fraction=0.1, decay_fraction=0.2
)


def length_of(train: TrainConfig, sequences: int) -> RunLength:
    """The length of a run on so many sequences of 8 tokens."""
    return run_length(RunConfig(model=ModelConfig(seq_len=8), train=train), sequences)


def rates(train: TrainConfig, length: RunLength) -> list[float]:
    return [
        lr_at(
            step,
            lr_peak=train.lr_peak,
            warmup_steps=length.warmup_steps,
            total_steps=length.total_steps,
            schedule=train.schedule,
            decay_steps=length.decay_steps,
        )
        for step in range(length.total_steps)
    ]


@given(warmup=st.integers(0, 60), decay=st.integers(1, 90), lr_peak=st.floats(1e-6, 1))
def test_cosine_goes_from_the_peak_to_a_tenth(warmup: int, decay: int, lr_peak: float) -> None:
    total = warmup + decay

    def rate(step: int) -> float:
        return lr_at(
            step, lr_peak=lr_peak, warmup_steps=warmup, total_steps=total, schedule="cosine"
        )

    for step in range(warmup):
        assert rate(step) == pytest.approx(lr_peak * (step + 1) / warmup)
    for step in range(warmup, total + 1):  # half a turn, by the half-angle formula
        turned = (step - warmup) / decay * math.pi / 2
        assert rate(step) == pytest.approx(lr_peak * (1 - 0.9 * math.sin(turned) ** 2))
    assert rate(total) == pytest.approx(0.1 * lr_peak)


@given(
    warmup=st.integers(0, 40),
    constant=st.integers(0, 60),
    decay=st.integers(1, 60),
    lr_peak=st.floats(1e-6, 1),
)
def test_wsd_is_three_lines(warmup: int, constant: int, decay: int, lr_peak: float) -> None:
    total = warmup + constant + decay
    for step in range(total):
        rate = lr_at(
            step,
            lr_peak=lr_peak,
            warmup_steps=warmup,
            total_steps=total,
            schedule="wsd",
            decay_steps=decay,
        )
        rising = Fraction(step + 1, warmup) if warmup else Fraction(1)
        share = min(rising, Fraction(1), Fraction(total - step, decay))
        assert rate == pytest.approx(lr_peak * float(share))


@given(
    sequences=st.integers(20, 300),
    epochs=st.lists(st.integers(1, 30), min_size=2, max_size=2, unique=True).map(sorted),
    lr_peak=st.floats(1e-6, 1),
)
def test_wsd_runs_of_two_lengths_have_the_same_bits_until_the_shorter_decays(
    sequences: int, epochs: list[int], lr_peak: float
) -> None:
    short, long = (
        TrainConfig(**{**vars(WSD), "epochs": number, "lr_peak": lr_peak}) for number in epochs
    )
    lengths = [length_of(config, sequences) for config in (short, long)]
    until = lengths[0].constant_until
    of_short, of_long = rates(short, lengths[0]), rates(long, lengths[1])
    assert of_short[:until] == of_long[:until]
    assert of_short[-1] < lr_peak
    decayed = sum(rate < lr_peak for rate in of_short[lengths[0].warmup_steps :])
    assert decayed == pytest.approx(0.2 * len(of_short), abs=1.5)


def test_wsds_warm_up_is_a_share_of_an_epoch_and_the_others_of_the_run() -> None:
    for epochs in (1, 4, 7):
        length = length_of(TrainConfig(**{**vars(WSD), "epochs": epochs}), 50)
        assert length.warmup_steps == 5
    other = TrainConfig(**{**vars(WSD), "epochs": 4, "schedule": "cosine"})
    assert length_of(other, 50).warmup_steps == 20


def test_a_decay_that_begins_before_the_warm_up_ends_is_refused() -> None:
    config = TrainConfig(**{**vars(WSD), "epochs": 1, "warmup_fraction": 0.85})
    with pytest.raises(UserError, match=r"decay_fraction=0.2: 4 steps of decay after 17 of"):
        length_of(config, 20)


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_run_follows_its_schedule(corpus: Corpus, tiny: RunConfig, schedule: str) -> None:
    config = tiny.replace(schedule=schedule)  # 15 steps in 3 epochs, 3 of warm-up
    result = train(config, corpus)
    expected = rates(config.train, length_of(config.train, 35))
    assert [epoch.lr_last for epoch in result.epochs] == [expected[n] for n in (4, 9, 14)]
