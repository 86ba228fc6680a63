"""Runs trained together, against the same runs alone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import COMPLETE, DIVERGED, EpochRecord
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.checkpoint_files import step_files
from minigpt_search.model.training.optim import lr_at
from minigpt_search.model.training.packed_step import PackedStep
from minigpt_search.model.training.step import Step
from minigpt_search.model.training.train import Hooks, Progress, TrainResult, train, train_packed

MEMBERS: tuple[dict[str, Any], ...] = (
    {"lr_peak": 1e-2, "seed": 0},
    {"lr_peak": 3e-3, "seed": 1, "weight_decay": 1.0},
    {"lr_peak": 1e-2, "seed": 2},
)
AS_ROUNDING = 1e-5
"""Relative; what fp32 sums in another order come to in 15 steps."""


class Stop(Exception):
    """A kill at a moment that a test chooses."""


def stop_at_step(step: int) -> Hooks:
    def on_progress(progress: Progress) -> None:
        if progress.step >= step:
            raise Stop

    return Hooks(on_progress=on_progress)


@pytest.fixture
def members(tiny: RunConfig) -> list[RunConfig]:
    return [tiny.replace(**fields) for fields in MEMBERS]


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


def assert_close(actual: TrainResult, expected: TrainResult) -> None:
    assert (actual.status, actual.error, actual.steps) == (
        expected.status,
        expected.error,
        expected.steps,
    )
    assert len(actual.epochs) == len(expected.epochs)
    for ours, theirs in zip(actual.epochs, expected.epochs, strict=True):
        assert numbers(ours) == pytest.approx(numbers(theirs), rel=AS_ROUNDING)


def make_step(config: RunConfig, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Step:
    torch.manual_seed(config.train.seed)
    model = GPT(config.model).to(device, dtype).train()
    model.draw_dropout_from(torch.Generator(device).manual_seed(config.train.seed))
    return Step(model, config.train, device)


def batches(members: list[RunConfig], step: int) -> tuple[list[Tensor], list[Tensor]]:
    """Tokens and targets for each member; every fifth batch is short."""
    tokens, targets = [], []
    for config in members:
        generator = torch.Generator().manual_seed(1000 * config.train.seed + step)
        shape = (3 if step % 5 == 4 else config.train.batch_size, config.model.seq_len)
        tokens.append(torch.randint(config.model.vocab_size, shape, generator=generator))
        targets.append(torch.randint(config.model.vocab_size, shape, generator=generator))
    return tokens, targets


@pytest.mark.parametrize(
    "fields", [{}, {"tie_head": False}, {"n_layers": 3, "dropout": 0.3}, {"dropout": 0.0}]
)
def test_forty_steps_of_a_pack_are_those_of_its_members_alone_in_fp64(
    members: list[RunConfig], fields: dict[str, Any]
) -> None:
    assert_forty_steps_alike([config.replace(**fields) for config in members], "cpu")


@pytest.mark.gpu
def test_forty_steps_are_alike_on_a_gpu_too(members: list[RunConfig]) -> None:
    assert_forty_steps_alike(members, "cuda")


def assert_forty_steps_alike(members: list[RunConfig], device: str) -> None:
    alone, together = (
        [make_step(config, torch.float64, device) for config in members] for _ in range(2)
    )
    pack = PackedStep(together)
    for number in range(40):
        tokens, targets = batches(members, number)
        lrs = [
            lr_at(number, lr_peak=config.train.lr_peak, warmup_steps=5, total_steps=40)
            for config in members
        ]
        pack(tokens, targets, lrs)
        for step, x, y, lr in zip(alone, tokens, targets, lrs, strict=True):
            step(x, y, lr)
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours.sums.totals, theirs.sums.totals, rtol=1e-8, atol=0)
        expected = theirs.model.state_dict()
        for name, weight in ours.model.state_dict().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-8)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_round_alike(members: list[RunConfig], precision: str) -> None:
    members = [config.replace(precision=precision) for config in members]
    alone, together = ([make_step(c, torch.float32) for c in members] for _ in range(2))
    pack = PackedStep(together)
    for number in range(10):
        tokens, targets = batches(members, number)
        pack(tokens, targets, [1e-2] * len(members))
        for step, x, y in zip(alone, tokens, targets, strict=True):
            step(x, y, 1e-2)
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours.sums.totals, theirs.sums.totals, rtol=1e-2, atol=0)


def test_a_member_that_is_not_finite_changes_no_bit_of_the_others(
    members: list[RunConfig],
) -> None:
    healthy, beside = ([make_step(c, torch.float32) for c in members] for _ in range(2))
    packs = PackedStep(healthy), PackedStep(beside)
    with torch.no_grad():
        for parameter in beside[1].model.parameters():
            parameter.fill_(math.nan)
    for number in range(6):
        tokens, targets = batches(members, number)
        for pack in packs:
            pack(tokens, targets, [1e-2] * len(members))
    for k in (0, 2):
        assert torch.equal(healthy[k].sums.totals, beside[k].sums.totals)
        expected = healthy[k].model.state_dict()
        assert all(torch.equal(w, expected[n]) for n, w in beside[k].model.state_dict().items())
    assert beside[1].sums.read().steps_before_divergence == 0
    assert not any(p.isfinite().any() for p in beside[1].model.parameters())


def test_the_records_and_the_weights_are_those_of_runs_alone(
    corpus: Corpus, members: list[RunConfig], tmp_path: Path
) -> None:
    alone = [train(c, corpus, checkpoint_dir=tmp_path / f"a{i}") for i, c in enumerate(members)]
    folders = [tmp_path / f"p{i}" for i in range(len(members))]
    told: list[list[EpochRecord]] = [[] for _ in members]
    packed = train_packed(
        members, corpus, checkpoint_dirs=folders, hooks=[Hooks(on_epoch=t.append) for t in told]
    )
    for i, (ours, theirs) in enumerate(zip(packed, alone, strict=True)):
        assert (ours.pack, theirs.pack) == (3, 1)
        assert_close(ours, theirs)
        assert tuple(told[i]) == ours.epochs
        expected = checkpoint.load(tmp_path / f"a{i}" / "final.pt")["model"]
        for name, weight in checkpoint.load(folders[i] / "final.pt")["model"].items():
            # Adam makes steps of what rounding leaves of the keys' biases' gradients, which are 0.
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-3)


def test_a_member_s_clock_is_the_pack_s(corpus: Corpus, members: list[RunConfig]) -> None:
    results = train_packed(members, corpus)
    totals = [result.timing.total() for result in results]
    assert max(totals) <= 1.5 * min(totals)
    for result in results:
        walls = [record.wall_seconds for record in result.epochs]
        assert walls == sorted(walls) and walls[-1] <= result.timing.total()


@pytest.mark.parametrize("first", ["pack", "alone"])
def test_a_pack_goes_on_as_runs_alone_and_the_other_way_round(
    corpus: Corpus, members: list[RunConfig], tmp_path: Path, first: str
) -> None:
    expected = [train(config, corpus) for config in members]
    folders = [tmp_path / str(i) for i in range(len(members))]
    keep: dict[str, Any] = {"checkpoint_every_seconds": 0}
    if first == "pack":
        with pytest.raises(Stop):
            train_packed(
                members, corpus, checkpoint_dirs=folders, hooks=[stop_at_step(8)] * 3, **keep
            )
        found = [checkpoint.newest_step(folder) for folder in folders]
        assert [f["position"]["steps"] for f in found if f] == [7, 7, 7]
        size = step_files(folders[0])[0].stat().st_size
        results = [
            train(config, corpus, checkpoint_dir=folder, **keep)
            for config, folder in zip(members, folders, strict=True)
        ]
        assert step_files(folders[0])[0].stat().st_size == pytest.approx(size, rel=0.05)
    else:
        # They were cut at different steps: at an epoch's end, within one, and before the first.
        for config, folder, step in zip(members[:2], folders, (6, 9), strict=False):
            with pytest.raises(Stop):
                train(config, corpus, checkpoint_dir=folder, hooks=stop_at_step(step), **keep)
        results = train_packed(members, corpus, checkpoint_dirs=folders, **keep)
    for ours, theirs in zip(results, expected, strict=True):
        assert_close(ours, theirs)


def test_a_pack_that_was_cut_ends_with_the_bits_of_one_that_was_not(
    corpus: Corpus, members: list[RunConfig], tmp_path: Path
) -> None:
    whole = train_packed(members, corpus)
    folders = [tmp_path / str(i) for i in range(len(members))]
    for step in (4, 11):
        with pytest.raises(Stop):
            train_packed(
                members,
                corpus,
                checkpoint_dirs=folders,
                checkpoint_every_seconds=0,
                hooks=[Hooks(), Hooks(), stop_at_step(step)],
            )
    resumed = train_packed(members, corpus, checkpoint_dirs=folders)
    for ours, theirs in zip(resumed, whole, strict=True):
        assert list(map(numbers, ours.epochs)) == list(map(numbers, theirs.epochs))


@pytest.mark.parametrize("when", [2, 7])
@pytest.mark.parametrize("every", [0.0, 45.0])
def test_a_member_diverges_at_its_step_and_the_others_go_on(
    corpus: Corpus,
    members: list[RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: int,
    every: float,
) -> None:
    def damaged(step: int, *, lr_peak: float, **run: int) -> float:
        return 1e38 if (step, lr_peak) == (when, 3e-3) else lr_at(step, lr_peak=lr_peak, **run)

    monkeypatch.setattr("minigpt_search.model.training.loop.lr_at", damaged)
    alone = [train(config, corpus) for config in members]
    folders = [tmp_path / str(i) for i in range(len(members))]
    packed = train_packed(members, corpus, checkpoint_dirs=folders, checkpoint_every_seconds=every)
    assert [result.status for result in packed] == [COMPLETE, DIVERGED, COMPLETE]
    assert packed[1].steps == when + 2
    for ours, theirs in zip(packed, alone, strict=True):
        assert_close(ours, theirs)
    assert [(folder / "final.pt").exists() for folder in folders] == [True, False, True]


def test_runs_of_different_shapes_are_refused(corpus: Corpus, tiny: RunConfig) -> None:
    with pytest.raises(ValueError, match="differ"):
        train_packed([tiny, tiny.replace(batch_size=4)], corpus)
    assert tiny.shape() == tiny.replace(lr_peak=0.5, seed=9, weight_decay=0.0).shape()


def test_a_pack_of_one_is_the_run_alone(corpus: Corpus, tiny: RunConfig) -> None:
    [packed] = train_packed([tiny], corpus)
    assert_close(dataclasses.replace(packed, pack=1), train(tiny, corpus))
