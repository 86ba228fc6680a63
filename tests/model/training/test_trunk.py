"""Runs that share a trunk, against the same runs from their start: equal to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED, EpochRecord
from minigpt_search.model.training import checkpoint, loop
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.train import TrainResult, train
from minigpt_search.model.training.trunk import share_trunk, train_branches

EPOCHS = (1, 2, 5)
"""Of 5 steps each: decays of 1, 2 and 5 steps begin at steps 4, 8 and 20 (an epoch's end)."""
CLOCKS = ("wall_seconds", "steps_per_second", "peak_memory_mb")


class Kill(BaseException):
    """The process is gone at this moment."""


def numbers(epochs: tuple[EpochRecord, ...]) -> list[dict[str, float]]:
    """All fields but the clocks and the memory."""
    records = [dataclasses.asdict(epoch) for epoch in epochs]
    return [{k: v for k, v in record.items() if k not in CLOCKS} for record in records]


@pytest.fixture
def configs(tiny: RunConfig) -> list[RunConfig]:
    base = tiny.replace(schedule="wsd", warmup_steps=None, warmup_fraction=0.4)
    return [base.replace(epochs=epochs) for epochs in EPOCHS]


@pytest.fixture
def scratch(configs: list[RunConfig], corpus: Corpus, tmp_path: Path) -> list[TrainResult]:
    return [
        train(config, corpus, checkpoint_dir=tmp_path / f"scratch{n}")
        for n, config in enumerate(configs)
    ]


def branches(
    configs: list[RunConfig],
    corpus: Corpus,
    home: Path,
    on_progress: Callable[[int, Progress], None] = lambda number, progress: None,
) -> dict[int, TrainResult]:
    """Those runs of `configs` without a result in `home`, with a checkpoint after each step."""
    left = [n for n in range(len(configs)) if not (home / str(n) / "ended").exists()]

    def hooks(number: int) -> Hooks:
        return Hooks(on_progress=lambda progress: on_progress(number, progress))

    results = {}
    for place, result in train_branches(
        [configs[n] for n in left],
        corpus,
        device="cpu",
        checkpoint_dirs=[home / str(n) for n in left],
        checkpoint_every_seconds=0,
        hooks=[hooks(n) for n in left],
    ):
        results[left[place]] = result
        (home / str(left[place])).mkdir(exist_ok=True)  # a run that diverged has written nothing
        (home / str(left[place]) / "ended").touch()
    return results


def assert_same(
    results: dict[int, TrainResult], scratch: list[TrainResult], home: Path, whole: Path
) -> None:
    for number, result in results.items():
        assert (result.status, result.steps) == (COMPLETE, scratch[number].steps)
        assert numbers(result.epochs) == numbers(scratch[number].epochs)
        weights = [
            checkpoint.load(folder / "final.pt")["model"]
            for folder in (home / str(number), whole / f"scratch{number}")
        ]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_each_branch_is_the_run_from_its_start_and_takes_its_own_steps_only(
    configs: list[RunConfig], corpus: Corpus, scratch: list[TrainResult], tmp_path: Path
) -> None:
    taken: list[tuple[int, int]] = []
    results = branches(
        configs, corpus, tmp_path, lambda number, progress: taken.append((number, progress.step))
    )
    assert list(results) == [0, 1, 2]  # the shortest first
    assert_same(results, scratch, tmp_path, tmp_path)
    assert [result.trunk_steps for result in results.values()] == [4, 8, 0]
    assert {step for number, step in taken if number == 0} == {5}
    assert {step for number, step in taken if number == 1} == {9, 10}
    assert {step for number, step in taken if number == 2} == set(range(1, 26))
    for result in results.values():
        assert 0 <= result.trunk_seconds < result.timing.total()
    assert results[2].trunk_seconds == 0 < results[1].trunk_seconds


@pytest.mark.parametrize(
    "kill",
    [(2, 3), (2, 4), (0, 5), (2, 6), (1, 9), (2, 8), (2, 22)],
    ids=lambda kill: f"run {kill[0]} at step {kill[1]}",
)
def test_a_kill_in_the_trunk_or_in_a_branch_changes_no_bit(
    configs: list[RunConfig],
    corpus: Corpus,
    scratch: list[TrainResult],
    tmp_path: Path,
    kill: tuple[int, int],
) -> None:
    def on_progress(number: int, progress: Progress) -> None:
        if (number, progress.step) == kill:
            raise Kill

    with pytest.raises(Kill):
        branches(configs, corpus, tmp_path, on_progress)
    done = {n for n in range(3) if (tmp_path / str(n) / "ended").exists()}
    if len(done) == 2:  # the trunk alone is left
        results = {2: train(configs[2], corpus, checkpoint_dir=tmp_path / "2")}
    else:
        results = branches(configs, corpus, tmp_path)
    assert done | set(results) == {0, 1, 2}
    assert_same(results, scratch, tmp_path, tmp_path)


def test_a_branch_that_is_lost_behind_the_trunk_is_trained_from_its_start(
    configs: list[RunConfig], corpus: Corpus, scratch: list[TrainResult], tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 12:
            raise Kill

    options = {"checkpoint_dir": tmp_path / "2", "checkpoint_every_seconds": 0}
    with pytest.raises(Kill):
        train(configs[2], corpus, hooks=Hooks(on_progress=stop), **options)  # type: ignore[arg-type]
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "step_000000008.pt").write_bytes(b"damaged")
    results = branches(configs, corpus, tmp_path)
    assert [results[n].trunk_steps for n in range(3)] == [0, 0, 0]
    assert_same(results, scratch, tmp_path, tmp_path)


def test_runs_beyond_the_step_at_which_the_trunk_diverges_diverge_with_it(
    configs: list[RunConfig], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.lr_at

    def lr_at(step: int, **run: Any) -> float:
        return 1e38 if step == 6 else real(step, **run)

    monkeypatch.setattr(loop, "lr_at", lr_at)
    alone = [train(config, corpus) for config in configs]
    results = branches(configs, corpus, tmp_path)
    assert [results[n].status for n in range(3)] == [COMPLETE, DIVERGED, DIVERGED]
    for number, expected in enumerate(alone):
        result = results[number]
        assert (result.status, result.steps, result.error) == (
            expected.status,
            expected.steps,
            expected.error,
        )
        assert numbers(result.epochs) == numbers(expected.epochs)
    assert results[1].trunk_steps == results[1].steps
    assert results[1].trunk_seconds == results[1].timing.total()


def test_what_shares_a_trunk(configs: list[RunConfig], corpus: Corpus) -> None:
    assert share_trunk(configs)
    assert not share_trunk(configs[:1])
    assert not share_trunk([configs[0], configs[0]])
    assert not share_trunk([configs[0], configs[1].replace(lr_peak=5e-3)])
    assert not share_trunk([config.replace(schedule="linear") for config in configs])
    with pytest.raises(ValueError, match="share a trunk"):
        next(
            train_branches(
                configs[:1],
                corpus,
                device="cpu",
                checkpoint_dirs=[],
                checkpoint_every_seconds=0,
                hooks=[],
            )
        )
