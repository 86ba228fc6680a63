"""A run that is stopped and started again, against one that never stopped."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import EpochRecord
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.checkpoint_files import step_files
from minigpt_search.model.training.train import Hooks, Progress, TrainResult, train

MakeCorpus = Callable[..., Corpus]


class Stop(Exception):
    """A kill at a moment that a test chooses."""


def stop_at_step(step: int) -> Hooks:
    def on_progress(progress: Progress) -> None:
        if progress.step >= step:
            raise Stop

    return Hooks(on_progress=on_progress)


def run(config: RunConfig, corpus: Corpus, folder: Path, hooks: Hooks | None = None) -> TrainResult:
    """Train with a checkpoint after each step."""
    return train(config, corpus, checkpoint_dir=folder, checkpoint_every_seconds=0, hooks=hooks)


def run_with_stops(
    config: RunConfig, corpus: Corpus, folder: Path, stops: list[int]
) -> TrainResult:
    for step in stops:
        with pytest.raises(Stop):
            run(config, corpus, folder, stop_at_step(step))
    return run(config, corpus, folder)


def numbers(record: EpochRecord) -> tuple[float, ...]:
    """All that doesn't depend on the clock or the machine."""
    return (
        record.epoch,
        record.train_loss_nats,
        record.val_loss_nats,
        record.lr_last,
        record.grad_norm_mean,
        record.tokens_seen,
    )


def assert_same_bits(actual: TrainResult, folder: Path, expected: TrainResult, other: Path) -> None:
    assert (actual.status, actual.steps) == (expected.status, expected.steps)
    assert list(map(numbers, actual.epochs)) == list(map(numbers, expected.epochs))
    ours, theirs = (checkpoint.load(path / "final.pt")["model"] for path in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def uninterrupted(corpus: Corpus, tiny: RunConfig, tmp_path: Path) -> tuple[TrainResult, Path]:
    folder = tmp_path / "uninterrupted"
    return train(tiny, corpus, checkpoint_dir=folder), folder


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stops=st.lists(st.integers(1, 15), min_size=1, max_size=3).map(sorted))
def test_stopping_anywhere_and_any_number_of_times_changes_no_bit(
    corpus: Corpus, tiny: RunConfig, uninterrupted: tuple[TrainResult, Path], stops: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        resumed = run_with_stops(tiny, corpus, Path(folder), stops)
        assert_same_bits(resumed, Path(folder), *uninterrupted)


@pytest.mark.parametrize(
    "fields", [{"precision": "bf16"}, {"precision": "fp16"}, {"tie_head": False}]
)
def test_other_precisions_and_an_untied_head_resume_too(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, fields: dict[str, Any]
) -> None:
    config = tiny.replace(**fields)
    whole = train(config, corpus, checkpoint_dir=tmp_path / "whole")
    resumed = run_with_stops(config, corpus, tmp_path / "resumed", [4, 8])
    assert_same_bits(resumed, tmp_path / "resumed", whole, tmp_path / "whole")


def test_the_gradient_scaler_goes_on_at_its_scale(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    config = tiny.replace(precision="fp16")
    with pytest.raises(Stop):
        run(config, corpus, tmp_path, stop_at_step(4))
    path = step_files(tmp_path)[0]
    content = checkpoint.load(path)
    content["scaler"]["scale"] = 2.0
    checkpoint.save_atomically(content, path)
    with pytest.raises(Stop):
        run(config, corpus, tmp_path, stop_at_step(8))
    later = checkpoint.load(step_files(tmp_path)[0])
    assert (later["position"]["steps"], later["scaler"]["scale"]) == (7, 2.0)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_stopping_between_an_epoch_s_record_and_the_next_step_changes_no_bit(
    corpus: Corpus,
    tiny: RunConfig,
    tmp_path: Path,
    uninterrupted: tuple[TrainResult, Path],
    epoch: int,
) -> None:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Stop

    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, Hooks(on_epoch=on_epoch))
    assert_same_bits(run(tiny, corpus, tmp_path), tmp_path, *uninterrupted)


def test_a_resumed_run_takes_no_step_twice_but_those_after_the_checkpoint(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, stop_at_step(8))
    steps: list[int] = []
    run(tiny, corpus, tmp_path, Hooks(on_progress=lambda progress: steps.append(progress.step)))
    assert sorted(set(steps)) == list(range(8, 16))


def test_clocks_add_up_over_the_parts(corpus: Corpus, tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, stop_at_step(8))
    before = checkpoint.newest_step(tmp_path)
    assert before is not None
    result = run(tiny, corpus, tmp_path)
    for part, seconds in before["position"]["timing"].items():
        assert getattr(result.timing, part) >= seconds
    walls = [record.wall_seconds for record in result.epochs]
    assert walls == sorted(walls)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    corpus: Corpus,
    tiny: RunConfig,
    tmp_path: Path,
    uninterrupted: tuple[TrainResult, Path],
    damage: bytes,
) -> None:
    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, stop_at_step(9))
    newest, older = step_files(tmp_path)
    newest.write_bytes(damage)
    found = checkpoint.newest_step(tmp_path)
    assert found is not None
    assert f"step_{found['position']['steps']:09d}.pt" == older.name
    assert_same_bits(run(tiny, corpus, tmp_path), tmp_path, *uninterrupted)


def test_with_all_checkpoints_damaged_the_run_starts_anew_and_can_be_stopped_again(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, uninterrupted: tuple[TrainResult, Path]
) -> None:
    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, stop_at_step(12))
    for path in step_files(tmp_path):
        path.write_bytes(b"damaged")
    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, stop_at_step(4))
    found = checkpoint.newest_step(tmp_path)
    assert found is not None
    assert found["position"]["steps"] == 3
    assert_same_bits(run(tiny, corpus, tmp_path), tmp_path, *uninterrupted)


def test_a_checkpoint_of_another_configuration_or_corpus_is_refused(
    corpus: Corpus, make_corpus: MakeCorpus, tiny: RunConfig, tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(tiny, corpus, tmp_path, stop_at_step(3))
    for config, other in ((tiny.replace(lr_peak=5e-3), corpus), (tiny, make_corpus(seed=1))):
        with pytest.raises(UserError, match="another configuration or corpus"):
            run(config, other, tmp_path)
