"""Runs of more text that go on from the trunk of a shorter one, against the same runs from their
start: equal to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED, EpochRecord
from minigpt_search.model.run_length import RunLength, run_length
from minigpt_search.model.training import checkpoint, loop
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.train import TrainResult, train
from minigpt_search.model.training.trunk import common_steps, train_for_longer

CLOCKS = ("wall_seconds", "steps_per_second", "peak_memory_mb")
TEXTS = (88, 136, 220)
"""Tokens an epoch of three runs: 11, 17 and 27 of the 35 sequences, so that batches of 4 make
steps of 2, 4 and 6 whole batches and a short one."""


class Kill(BaseException):
    """The process is gone at this moment."""


def numbers(epochs: tuple[EpochRecord, ...]) -> list[dict[str, float]]:
    """All fields but the clocks and the memory."""
    records = [dataclasses.asdict(epoch) for epoch in epochs]
    return [{k: v for k, v in record.items() if k not in CLOCKS} for record in records]


def runs(tiny: RunConfig, **fields: object) -> list[RunConfig]:
    base = tiny.replace(schedule="wsd", warmup_steps=2, decay_fraction=0.2, batch_size=4)
    return [base.replace(tokens_per_epoch=tokens, **fields) for tokens in TEXTS]


def leave(
    configs: list[RunConfig], number: int, corpus: Corpus, home: Path, hooks: Hooks | None = None
) -> TrainResult:
    """Train the run of this number, a checkpoint after each step, for the one after it."""
    return train_for_longer(
        configs[number],
        corpus,
        longer=configs[number + 1],
        longer_dir=home / str(number + 1),
        device="cpu",
        checkpoint_dir=home / str(number),
        checkpoint_every_seconds=0,
        hooks=hooks or Hooks(),
    )


def assert_same(config: RunConfig, corpus: Corpus, result: TrainResult, home: Path) -> None:
    """That it ended as the same run from its start."""
    alone = train(config, corpus, checkpoint_dir=home / f"alone {config.train.tokens_per_epoch}")
    assert (result.status, result.steps) == (COMPLETE, alone.steps)
    assert numbers(result.epochs) == numbers(alone.epochs)
    assert result.checkpoint is not None and alone.checkpoint is not None
    name = f"alone {config.train.tokens_per_epoch}"
    weights = [
        checkpoint.load(folder / "final.pt")["model"]
        for folder in (home / str(TEXTS.index(config.train.tokens_per_epoch or 0)), home / name)
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"epochs": 1}, [0, 2, 4]),  # all of the constant phases
        ({"epochs": 3}, [0, 2, 4]),  # the whole batches of the shorter run's first epoch
        ({"epochs": 2, "batch_size": 1, "decay_fraction": 0.7}, [0, 7, 10]),  # to the decay
        ({"epochs": 2, "batch_size": 8}, [0, 1, 2]),
    ],
)
def test_a_longer_run_from_a_shorter_ones_trunk_is_the_run_from_its_start(
    tiny: RunConfig, corpus: Corpus, tmp_path: Path, fields: dict[str, object], taken: list[int]
) -> None:
    configs = runs(tiny, **fields)
    results = [leave(configs, number, corpus, tmp_path) for number in range(2)]
    own: list[int] = []
    hooks = Hooks(on_progress=lambda progress: own.append(progress.step))
    results.append(train(configs[2], corpus, checkpoint_dir=tmp_path / "2", hooks=hooks))
    assert [result.trunk_steps for result in results] == taken
    assert min(own) > taken[2]
    for config, result in zip(configs, results, strict=True):
        assert_same(config, corpus, result, tmp_path)
        assert 0 <= result.trunk_seconds < result.timing.total()


@pytest.mark.parametrize("kill", [1, 2, 3, 5])
def test_a_kill_before_or_behind_the_parting_changes_no_bit(
    tiny: RunConfig, corpus: Corpus, tmp_path: Path, kill: int
) -> None:
    def on_progress(progress: Progress) -> None:
        if progress.step == kill:
            raise Kill

    configs = runs(tiny, epochs=2)
    with pytest.raises(Kill):
        leave(configs, 0, corpus, tmp_path, Hooks(on_progress=on_progress))
    assert_same(configs[0], corpus, leave(configs, 0, corpus, tmp_path), tmp_path)
    longer = train(configs[1], corpus, checkpoint_dir=tmp_path / "1")
    assert longer.trunk_steps == 2
    assert_same(configs[1], corpus, longer, tmp_path)


def test_a_run_that_diverges_before_the_parting_leaves_nothing(
    tiny: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.lr_at
    monkeypatch.setattr(loop, "lr_at", lambda step, **run: 1e38 if step == 2 else real(step, **run))
    configs = runs(tiny, epochs=1)
    result = leave(configs, 1, corpus, tmp_path)
    assert (result.status, result.trunk_steps) == (DIVERGED, 0)
    assert not list((tmp_path / "2").glob("*"))


def test_common_steps_are_those_in_which_rates_and_batches_are_the_same(tiny: RunConfig) -> None:
    """Against the runs' own rates and orders, step by step."""
    for epochs, size, decay in ((1, 4, 0.2), (3, 4, 0.2), (2, 1, 0.7), (1, 8, 0.5), (2, 3, 0.9)):
        made = runs(tiny, epochs=epochs, batch_size=size, decay_fraction=decay, warmup_steps=0)
        lengths = [run_length(config, 35) for config in made]
        for one, other in ((0, 1), (1, 2), (0, 2)):
            steps = [
                list(zip(_rates(made[n], lengths[n]), _batches(made[n], lengths[n]), strict=True))
                for n in (one, other)
            ]
            same = [a == b for a, b in zip(*steps, strict=False)]
            expected = same.index(False) if False in same else len(same)
            # The first step of a decay still has the whole rate.
            assert expected - 1 <= common_steps(lengths[one], lengths[other]) <= expected


def _rates(config: RunConfig, length: RunLength) -> list[float]:
    return [
        loop.lr_at(
            step,
            lr_peak=config.train.lr_peak,
            warmup_steps=length.warmup_steps,
            total_steps=length.total_steps,
            schedule="wsd",
            decay_steps=length.decay_steps,
        )
        for step in range(length.total_steps)
    ]


def _batches(config: RunConfig, length: RunLength) -> list[list[int]]:
    made = []
    for epoch in range(1, length.epochs + 1):
        order = loop.training_order(
            length.sequences, 35, seed=config.train.seed, epoch=epoch, schedule="wsd"
        )
        made += [batch.tolist() for batch in order.split(length.batch_size)]
    return made
