"""A run's curve: what its points say, that nothing stops it, and that it changes no number."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import DIVERGED, EpochRecord, TrialCurve
from minigpt_search.model.run_length import run_length
from minigpt_search.model.scoring.evaluate import evaluate
from minigpt_search.model.training import checkpoint, curve
from minigpt_search.model.training.curve import curve_plan
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.train import train, train_packed
from minigpt_search.model.training.trunk import train_branches

LAST = 15
"""Steps of the configuration `tiny`: three epochs of four batches of 8 and one of 3 sequences."""


class Kill(Exception):
    """The process is gone at this moment."""


@pytest.fixture
def scored_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny runs too can afford to be scored between their epochs."""
    monkeypatch.setattr(curve, "SCORED_SHARE", 0.3)


def numbers(record: EpochRecord) -> tuple[float, ...]:
    return record.train_loss_nats, record.val_loss_nats, record.grad_norm_mean, record.lr_last


def resumed(config: RunConfig, corpus: Corpus, folder: Path, kills: list[int]) -> TrialCurve:
    """The curve of a run that keeps each step and is killed after each of `kills`."""
    for killed in kills:

        def kill(progress: Progress, killed: int = killed) -> None:
            if progress.step > killed:
                raise Kill

        hooks = Hooks(on_progress=kill)
        with pytest.raises(Kill):
            train(config, corpus, checkpoint_dir=folder, checkpoint_every_seconds=0, hooks=hooks)
    return train(config, corpus, checkpoint_dir=folder, checkpoint_every_seconds=0).curve


def test_points_are_the_steps_that_the_epochs_are_made_of(corpus: Corpus, tiny: RunConfig) -> None:
    result = train(tiny, corpus)
    found = result.curve
    assert found.steps == tuple(range(1, LAST + 1))  # fewer than 100
    sizes = [8, 8, 8, 8, 3]
    for number, epoch in enumerate(result.epochs):
        own = slice(5 * number, 5 * number + 5)
        weighted = sum(map(math.prod, zip(sizes, found.train_loss_nats[own], strict=True)))
        assert weighted / sum(sizes) == pytest.approx(epoch.train_loss_nats, rel=1e-5)
        assert sum(found.grad_norm[own]) / 5 == pytest.approx(epoch.grad_norm_mean, rel=1e-5)
        assert found.lr[5 * number + 4] == pytest.approx(epoch.lr_last, rel=1e-5)
    assert found.grad_norm_max == found.grad_norm  # each of one step
    assert found.val_steps == (5, 10, 15) and found.val_tokens == (88, 88, 88)
    assert found.val_loss_nats == pytest.approx([e.val_loss_nats for e in result.epochs], rel=1e-5)
    assert found.missing_steps == 0


def test_a_point_is_the_mean_since_the_one_before_across_epochs(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = train(tiny, corpus).curve
    monkeypatch.setattr(curve, "POINTS", 4)
    found = train(tiny, corpus).curve
    assert found.steps == (4, 8, 12, 15)
    sizes = 3 * [8, 8, 8, 8, 3]
    for n, (first, last) in enumerate([(0, 4), (4, 8), (8, 12), (12, 15)]):
        own = slice(first, last)
        pairs = zip(sizes[own], each.train_loss_nats[own], strict=True)
        loss = sum(map(math.prod, pairs)) / sum(sizes[own])
        assert found.train_loss_nats[n] == pytest.approx(loss, rel=1e-5)
        norms = each.grad_norm[own]
        assert found.grad_norm[n] == pytest.approx(sum(norms) / len(norms), rel=1e-5)
        assert found.grad_norm_max[n] == max(norms)
        assert found.lr[n] == each.lr[last - 1]


def test_validation_between_epochs_is_of_the_weights_there_and_changes_no_number(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tiny, corpus, checkpoint_dir=tmp_path / "plain")
    monkeypatch.setattr(curve, "SCORED_SHARE", 0.3)
    result = train(tiny, corpus, checkpoint_dir=tmp_path / "scored")
    found = result.curve
    assert found.val_steps == (2, 3, 5, 6, 8, 9, 10, 12, 14, 15)
    assert found.val_tokens == (24, 24, 88, 24, 24, 24, 88, 24, 24, 88)
    assert found.few_val_loss_nats is not None and plain.curve.few_val_loss_nats is None
    assert found.train_loss_nats == plain.curve.train_loss_nats
    assert list(map(numbers, result.epochs)) == list(map(numbers, plain.epochs))
    ours, theirs = (
        checkpoint.load(tmp_path / folder / "final.pt")["model"] for folder in ("scored", "plain")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    folder = tmp_path / "kept"
    with pytest.raises(Kill):
        hooks = Hooks(on_progress=lambda progress: _kill_beyond(8, progress))
        train(tiny, corpus, checkpoint_dir=folder, checkpoint_every_seconds=0, hooks=hooks)
    val_set = corpus.dataset("val", tiny.model.seq_len)
    model = GPT(tiny.model)
    model.load_state_dict(checkpoint.load(folder / "step_000000008.pt")["model"])
    loss = evaluate(model.eval(), val_set, tokens=24)
    assert found.val_loss_nats[found.val_steps.index(8)] == pytest.approx(loss, rel=1e-5)
    model.load_state_dict(ours)
    loss = evaluate(model.eval(), val_set, tokens=24)
    assert found.few_val_loss_nats == pytest.approx(loss, rel=1e-5)


def _kill_beyond(step: int, progress: Progress) -> None:
    if progress.step > step:
        raise Kill


@pytest.mark.usefixtures("scored_between")
def test_a_resumed_run_has_the_curve_of_one_that_never_stopped(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "POINTS", 7)
    whole = train(tiny, corpus).curve
    assert resumed(tiny, corpus, tmp_path, [1, 4, 5, 8, 14]) == whole


def test_a_checkpoint_without_a_curve_begins_one_that_says_what_it_lacks(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    whole = train(tiny, corpus).curve
    hooks = Hooks(on_progress=lambda progress: _kill_beyond(7, progress))
    with pytest.raises(Kill):
        train(tiny, corpus, checkpoint_dir=tmp_path, checkpoint_every_seconds=0, hooks=hooks)
    path = checkpoint.step_files(tmp_path)[0]
    content = checkpoint.load(path)
    del content["position"]["curve"], content["sums"]["norm_max"]  # as it was before
    del content["format"]
    checkpoint.save_atomically(content, path)
    found = train(tiny, corpus, checkpoint_dir=tmp_path).curve
    assert (found.missing_steps, found.steps) == (7, whole.steps[7:])
    assert found.train_loss_nats == whole.train_loss_nats[7:]
    assert found.grad_norm_max == whole.grad_norm_max[7:]


@pytest.mark.usefixtures("scored_between")
def test_a_packs_members_have_the_curves_of_runs_alone(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    configs = [tiny, tiny.replace(lr_peak=3e-3), tiny.replace(seed=1)]
    # One is ahead: the others reach it in the middle of an epoch.
    hooks = Hooks(on_progress=lambda progress: _kill_beyond(8, progress))
    folders = [tmp_path / str(n) for n in range(3)]
    with pytest.raises(Kill):
        train(tiny, corpus, checkpoint_dir=folders[0], checkpoint_every_seconds=0, hooks=hooks)
    together = train_packed(configs, corpus, checkpoint_dirs=folders)
    for config, result in zip(configs, together, strict=True):
        alone, found = train(config, corpus).curve, result.curve
        assert (found.steps, found.lr) == (alone.steps, alone.lr)
        assert (found.val_steps, found.val_tokens) == (alone.val_steps, alone.val_tokens)
        for ours, theirs in (
            (found.train_loss_nats, alone.train_loss_nats),
            (found.grad_norm, alone.grad_norm),
            (found.val_loss_nats, alone.val_loss_nats),
        ):
            assert ours == pytest.approx(theirs, rel=1e-3)


def test_a_branch_has_its_trunks_points_and_then_its_own(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    base = tiny.replace(schedule="wsd", warmup_steps=None, warmup_fraction=0.4)
    configs = [base.replace(epochs=epochs) for epochs in (2, 5)]
    folders = [tmp_path / "short", tmp_path / "long"]
    found = dict(
        train_branches(
            configs,
            corpus,
            device="cpu",
            checkpoint_dirs=folders,
            checkpoint_every_seconds=60,
            hooks=[Hooks(), Hooks()],
        )
    )
    for number, config in enumerate(configs):  # each step has a point, in both
        whole = train(config, corpus).curve
        assert found[number].curve.steps == whole.steps
        assert found[number].curve.train_loss_nats == whole.train_loss_nats
        assert found[number].curve.grad_norm_max == whole.grad_norm_max


def test_a_diverged_runs_curve_ends_where_it_diverged(corpus: Corpus, tiny: RunConfig) -> None:
    result = train(tiny.replace(lr_peak=1.0, grad_clip_norm=1e6, warmup_steps=0), corpus)
    assert result.status == DIVERGED
    found = result.curve
    assert found.steps and found.steps[-1] <= result.steps
    floats = (*found.train_loss_nats, *found.grad_norm, *found.grad_norm_max, *found.val_loss_nats)
    assert all(map(math.isfinite, floats))


def test_hooks_are_told_of_the_points_so_far(corpus: Corpus, tiny: RunConfig) -> None:
    told: list[TrialCurve] = []
    at_epochs: list[tuple[int, ...]] = []
    hooks = Hooks(
        on_curve=told.append, on_epoch=lambda record: at_epochs.append(told[-1].val_steps)
    )
    result = train(tiny, corpus, hooks=hooks)
    assert told[-1] == result.curve
    assert at_epochs == [(5,), (5, 10), (5, 10, 15)]  # before the epoch's own call
    rest = result.curve.since(12, 1)
    assert rest.steps == (13, 14, 15) and rest.lr == result.curve.lr[12:]
    assert rest.val_steps == (10, 15)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 40])
def test_points_lie_evenly_and_validation_between_is_a_small_share(epochs: int) -> None:
    for per_epoch in (1, 2, 7, 99, 100, 430, 5000):
        config = RunConfig().replace(epochs=epochs, batch_size=4, warmup_steps=0)
        length = run_length(config, 4 * per_epoch)
        total = length.total_steps
        plan = curve_plan(length, ())
        steps = sorted(plan.steps)
        gaps = [b - a for a, b in zip([0, *steps], steps, strict=False)]
        assert len(steps) == min(100, total) and steps[-1] == total
        assert max(gaps) - min(gaps) <= 1
        assert total in plan.val_steps and len(plan.val_steps) <= 10
        assert plan.between <= plan.val_steps
        assert all(step % per_epoch for step in plan.between)
        assert plan.scored_tokens <= 0.03 * length.total_tokens
        if epochs == 1 and per_epoch > 84:
            assert len(plan.val_steps) == 10


def test_a_rung_nearby_is_a_point_of_the_curve() -> None:
    length = run_length(RunConfig().replace(epochs=1, batch_size=4, warmup_steps=0), 400)
    plan = curve_plan(length, (12, 25, 50))
    assert sorted(plan.val_steps) == [12, 25, 40, 50, 60, 70, 80, 90, 100]
    assert sorted(plan.between) == [40, 60, 70, 80, 90]
