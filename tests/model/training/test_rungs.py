"""Scoring a run on its way changes nothing in it, and a stopped run goes no further."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig, TrainConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import COMPLETE, STOPPED, EpochRecord, RungRecord
from minigpt_search.model.run_length import run_length
from minigpt_search.model.scoring.evaluate import evaluate
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.rungs import rung_steps
from minigpt_search.model.training.train import train

EPOCH_END, TOTAL = 5, 15
"""Of the configuration `tiny`: rungs at steps 2, 4 and 8 of 15."""


def numbers(record: EpochRecord) -> tuple[float, ...]:
    return record.train_loss_nats, record.val_loss_nats, record.grad_norm_mean, record.lr_last


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = checkpoint.load(folder / "final.pt")["model"]
    return content


def test_a_run_with_rungs_has_the_same_bits_and_its_rungs_are_what_shorter_runs_end_with(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    plain = train(tiny, corpus, checkpoint_dir=tmp_path / "plain")
    scored: list[RungRecord] = []
    hooks = Hooks(on_rung=lambda rung: bool(scored.append(rung)))
    result = train(tiny, corpus, checkpoint_dir=tmp_path / "rungs", hooks=hooks, rungs=True)
    assert list(map(numbers, result.epochs)) == list(map(numbers, plain.epochs))
    ours, theirs = weights(tmp_path / "rungs"), weights(tmp_path / "plain")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert result.rungs == tuple(scored) and [rung.step for rung in scored] == [2, 4, 8]
    # Batches of 8, 8, 8, 8 and 3 sequences of 8 tokens an epoch.
    assert [rung.tokens_seen for rung in scored] == [2 * 64, 4 * 64, 280 + 3 * 64]
    assert {rung.schedule_tokens for rung in scored} == {3 * 280}
    assert plain.rungs == ()


def test_a_rungs_loss_is_that_of_the_weights_at_its_step(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    class Kill(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step > 4:
            raise Kill

    result = train(tiny, corpus, rungs=True)
    with pytest.raises(Kill):
        train(
            tiny,
            corpus,
            checkpoint_dir=tmp_path,
            checkpoint_every_seconds=0,
            hooks=Hooks(on_progress=kill),
        )
    model = GPT(tiny.model)
    model.load_state_dict(checkpoint.load(tmp_path / "step_000000004.pt")["model"])
    assert result.rungs[1].val_loss_nats == evaluate(
        model.eval(), corpus.dataset("val", tiny.model.seq_len)
    )


@pytest.mark.parametrize("at", [2, 4, 8])
def test_a_stopped_run_ends_there_with_what_it_had(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, at: int
) -> None:
    whole = train(tiny, corpus, rungs=True)
    hooks = Hooks(on_rung=lambda rung: rung.step == at)
    result = train(tiny, corpus, checkpoint_dir=tmp_path, hooks=hooks, rungs=True)
    assert (result.status, result.error, result.steps) == (STOPPED, None, at)
    assert result.checkpoint is None and not list(tmp_path.glob("final.pt"))
    assert result.rungs == tuple(rung for rung in whole.rungs if rung.step <= at)
    done = whole.epochs[: at // EPOCH_END]
    assert list(map(numbers, result.epochs)) == list(map(numbers, done))


def test_a_rung_at_an_epochs_end_is_that_epochs_loss_and_the_epoch_counts(
    corpus: Corpus, tiny: RunConfig
) -> None:
    hooks = Hooks(on_rung=lambda rung: rung.step == EPOCH_END)
    result = train(tiny.replace(epochs=2), corpus, hooks=hooks, rungs=True)
    assert result.status == STOPPED and len(result.epochs) == 1
    assert result.rungs[-1].val_loss_nats == result.epochs[0].val_loss_nats
    assert result.rungs[-1].share == 0.5


@pytest.mark.parametrize("killed", [2, 3, 4, 9])
def test_resumed_past_a_rung_it_is_not_scored_again(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, killed: int
) -> None:
    class Kill(Exception):
        pass

    scored: list[int] = []

    def note(rung: RungRecord) -> bool:
        scored.append(rung.step)
        return False

    def kill(progress: Progress) -> None:
        if progress.step > killed:
            raise Kill

    options = {"checkpoint_dir": tmp_path, "checkpoint_every_seconds": 0, "rungs": True}
    with pytest.raises(Kill):
        train(tiny, corpus, hooks=Hooks(on_rung=note, on_progress=kill), **options)  # type: ignore[arg-type]
    result = train(tiny, corpus, hooks=Hooks(on_rung=note), **options)  # type: ignore[arg-type]
    assert result.status == COMPLETE and scored == [2, 4, 8]
    assert result.rungs == train(tiny, corpus, rungs=True).rungs


@pytest.mark.parametrize("epochs", [1, 2, 5, 10])
def test_under_wsd_rungs_are_at_the_same_tokens_and_before_the_decay(epochs: int) -> None:
    config = TrainConfig(
        epochs=epochs, batch_size=4, schedule="wsd", warmup_steps=10, tokens_per_epoch=400 * 64
    )
    length = run_length(RunConfig(train=config), 400)
    assert length.total_steps == 100 * epochs
    steps = rung_steps(config, length)
    expected = [step for step in (25, 50, 100, 200, 400, 800) if step <= 80 * epochs]
    assert list(steps) == expected
    assert [length.tokens_after(step) for step in steps] == [step * 256 for step in expected]


def test_rungs_lie_inside_the_shortest_runs() -> None:
    for total in range(1, 40):
        config = RunConfig().replace(epochs=1, batch_size=4, warmup_steps=0)
        steps = rung_steps(config.train, run_length(config, total * 4))
        assert all(0 < step < total for step in steps) and list(steps) == sorted(set(steps))
        for step, share in zip(reversed(steps), (1 / 2, 1 / 4, 1 / 8), strict=False):
            assert math.isclose(step / total, share, abs_tol=0.5 / total + 1e-9)
