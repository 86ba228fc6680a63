"""The training loop: what it learns, what it sees, what it records, how it fails."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.config import RunConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import COMPLETE, DIVERGED, EpochRecord
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.optim import lr_at
from minigpt_search.model.training.train import Hooks, Progress, train

MakeCorpus = Callable[..., Corpus]


def losses(epochs: tuple[EpochRecord, ...]) -> list[tuple[float, float, float]]:
    return [(e.train_loss_nats, e.val_loss_nats, e.grad_norm_mean) for e in epochs]


def flat(lists: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


@pytest.fixture
def batches_seen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The indices of every training batch, in order."""
    seen: list[list[int]] = []
    original = SegmentedTextDataset.windows

    def spy(self: SegmentedTextDataset, indices: Tensor) -> Tensor:
        if self.files[0].name.startswith("segment"):
            seen.append(indices.tolist())
        return original(self, indices)

    monkeypatch.setattr(SegmentedTextDataset, "windows", spy)
    return seen


def test_one_batch_is_overfit(make_corpus: MakeCorpus, tiny: RunConfig) -> None:
    corpus = make_corpus(train=(33,))  # four sequences
    config = tiny.replace(
        batch_size=4, epochs=200, dropout=0.0, embed_dim=32, n_layers=2, val_tokens=8
    )
    result = train(config, corpus)
    assert result.status == COMPLETE
    assert result.steps == 200
    assert result.epochs[0].train_loss_nats > 3.5
    assert result.epochs[-1].train_loss_nats < 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns_about_the_same(
    corpus: Corpus, tiny: RunConfig, precision: str
) -> None:
    result = train(tiny.replace(epochs=20, dropout=0.0, precision=precision), corpus)
    reference = train(tiny.replace(epochs=20, dropout=0.0), corpus)
    assert result.status == COMPLETE
    assert result.epochs[-1].val_loss_nats < 2.0
    assert result.epochs[-1].val_loss_nats == pytest.approx(
        reference.epochs[-1].val_loss_nats, abs=0.05
    )


def test_bf16_losses_are_recorded_from_fp32_sums(corpus: Corpus, tiny: RunConfig) -> None:
    result = train(tiny.replace(precision="bf16"), corpus)
    for record in result.epochs:
        for loss in (record.train_loss_nats, record.val_loss_nats):
            assert torch.tensor(loss).bfloat16().item() != pytest.approx(loss, rel=1e-6)


def test_an_epoch_sees_every_sequence_once_in_its_own_order(
    corpus: Corpus, tiny: RunConfig, batches_seen: list[list[int]]
) -> None:
    train(tiny, corpus)
    assert [len(batch) for batch in batches_seen] == [8, 8, 8, 8, 3] * 3
    epochs = [flat(batches_seen[start : start + 5]) for start in (0, 5, 10)]
    assert all(sorted(epoch) == list(range(35)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    del batches_seen[:]
    train(tiny.replace(seed=1, epochs=1, warmup_steps=0), corpus)
    assert flat(batches_seen) != epochs[0]


def test_tokens_per_epoch_takes_the_same_even_share_each_epoch(
    corpus: Corpus, tiny: RunConfig, batches_seen: list[list[int]]
) -> None:
    result = train(tiny.replace(tokens_per_epoch=100), corpus)
    even = [k * 35 // 12 for k in range(12)]
    assert [sorted(flat(batches_seen[k : k + 2])) for k in (0, 2, 4)] == [even] * 3
    assert [record.tokens_seen for record in result.epochs] == [96, 192, 288]


def plain_loss(folder: Path, config: RunConfig, windows: list[list[int]]) -> float:
    """Mean cross-entropy of all logits at once, in float64."""
    model, _, _ = checkpoint.load_model(folder / "final.pt")
    model.double()
    tokens = torch.tensor(windows)
    logits = model.logits(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()


@pytest.mark.parametrize(("val_tokens", "taken"), [(None, range(11)), (40, (0, 2, 4, 6, 8))])
def test_validation_loss_is_a_plain_evaluation_s(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path, val_tokens: int | None, taken: list[int]
) -> None:
    config = tiny.replace(val_tokens=val_tokens)
    record = train(config, corpus, checkpoint_dir=tmp_path).epochs[-1]
    tokens = torch.load(corpus.folder / "val.pt").tolist()
    windows = [tokens[8 * k : 8 * k + 9] for k in taken]
    expected = plain_loss(tmp_path, config, windows)
    assert record.val_loss_nats == pytest.approx(expected, rel=1e-6)
    assert record.val_perplexity == pytest.approx(math.exp(expected), rel=1e-5)
    # Each token of this corpus stands for four bytes.
    assert record.val_bits_per_byte == pytest.approx(math.log2(math.e) * expected / 4, rel=1e-6)


def test_train_loss_weighs_the_short_batch_by_its_size(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    """At a rate that changes nothing, the epoch's mean is the loss of its sequences at once."""
    config = tiny.replace(lr_peak=1e-30, dropout=0.0, epochs=1, warmup_steps=0)
    record = train(config, corpus, checkpoint_dir=tmp_path).epochs[0]
    x, y = corpus.dataset("train", 8).batch(torch.arange(35))
    windows = torch.cat([x, y[:, -1:]], dim=1).tolist()
    assert record.train_loss_nats == pytest.approx(plain_loss(tmp_path, config, windows), rel=1e-6)


def test_records_are_finite_and_their_clocks_run(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    told: list[EpochRecord] = []
    result = train(tiny, corpus, checkpoint_dir=tmp_path, hooks=Hooks(on_epoch=told.append))
    assert tuple(told) == result.epochs
    assert [record.epoch for record in told] == [1, 2, 3]
    for record in told:
        assert all(math.isfinite(value) for value in dataclasses.astuple(record))
    seconds = [0.0, *(record.wall_seconds for record in told), result.timing.total()]
    assert seconds == sorted(set(seconds))
    assert min(dataclasses.astuple(result.timing)) > 0
    last = lr_at(14, lr_peak=1e-2, warmup_steps=3, total_steps=15)
    assert told[-1].lr_last == pytest.approx(last)


def test_progress_counts_to_the_end_of_each_epoch(corpus: Corpus, tiny: RunConfig) -> None:
    told: list[Progress] = []
    result = train(tiny, corpus, hooks=Hooks(on_progress=told.append))
    assert {5, 10, 15} <= {progress.step for progress in told}
    assert {progress.total_steps for progress in told} == {15}
    assert told[-1].train_loss_nats == result.epochs[-1].train_loss_nats


def test_the_final_checkpoint_is_the_one_that_was_evaluated(
    corpus: Corpus, tiny: RunConfig, tmp_path: Path
) -> None:
    result = train(tiny, corpus, checkpoint_dir=tmp_path)
    assert result.checkpoint is not None
    path = tmp_path / result.checkpoint.path
    assert result.checkpoint.sha256 == checkpoint.sha256(path)
    _, config, content = checkpoint.load_model(path)
    assert config == tiny
    assert content["val_loss_nats"] == result.epochs[-1].val_loss_nats
    assert content["corpus_hash"] == corpus.content_hash


def test_a_reused_process_gives_the_same_bits(
    corpus: Corpus, make_corpus: MakeCorpus, tiny: RunConfig
) -> None:
    alone = train(tiny, corpus)
    train(tiny.replace(seed=5, embed_dim=32, precision="bf16"), make_corpus(seed=1))
    after = train(tiny, corpus)
    assert losses(after.epochs) == losses(alone.epochs)


def test_seeds_differ(corpus: Corpus, tiny: RunConfig) -> None:
    assert losses(train(tiny, corpus).epochs) != losses(train(tiny.replace(seed=1), corpus).epochs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 36}, "batch_size=36"),
        ({"warmup_steps": 15}, "warmup_steps=15"),
        ({"seq_len": 96}, "seq_len=96: the validation split is shorter than one sequence"),
    ],
)
def test_what_the_corpus_can_t_serve_is_refused_before_the_first_step(
    corpus: Corpus, tiny: RunConfig, fields: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny.replace(**fields), corpus)


def damage_loss(
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Tensor], Tensor],
    *,
    at: int,
    training: bool,
    onwards: bool = False,
) -> None:
    """Let `damage` change the loss of call number `at`, counted from 1, in that mode, or of all
    from there on."""
    original, calls = GPT.loss, 0

    def loss(self: GPT, *args: object) -> Tensor:
        nonlocal calls
        value = original(self, *args)  # type: ignore[arg-type]
        calls += self.training == training
        due = calls == at or (onwards and calls > at)
        return damage(value) if due and self.training == training else value

    monkeypatch.setattr(GPT, "loss", loss)


def with_nan_gradient(loss: Tensor) -> Tensor:
    loss.register_hook(lambda gradient: gradient * math.nan)
    return loss


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("step", [1, 5, 6, 15])
@pytest.mark.parametrize("every", [0.0, 45.0])
def test_a_non_finite_loss_ends_the_run_as_diverged_and_names_the_step(
    corpus: Corpus,
    tiny: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    every: float,
    precision: str,
) -> None:
    damage_loss(monkeypatch, lambda loss: loss * math.inf, at=step, training=True)
    result = train(
        tiny.replace(precision=precision),
        corpus,
        checkpoint_dir=tmp_path,
        checkpoint_every_seconds=every,
    )
    assert result.status == DIVERGED
    assert result.error is not None
    assert result.error.startswith(f"step {step}: loss or gradient not finite (loss inf nats")
    assert result.steps == step
    assert len(result.epochs) == (step - 1) // 5
    assert result.checkpoint is None
    assert not (tmp_path / "final.pt").exists()
    kept = checkpoint.newest_step(tmp_path)
    assert kept is None or all(weight.isfinite().all() for weight in kept["model"].values())


def test_a_non_finite_gradient_diverges_though_the_loss_is_finite(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_loss(monkeypatch, with_nan_gradient, at=7, training=True)
    result = train(tiny, corpus)
    assert (result.status, result.steps) == (DIVERGED, 7)


def test_fp16_skips_a_step_whose_gradient_overflows(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_loss(monkeypatch, with_nan_gradient, at=7, training=True)
    result = train(tiny.replace(precision="fp16"), corpus)
    assert (result.status, result.steps) == (COMPLETE, 15)
    assert all(math.isfinite(number) for record in losses(result.epochs) for number in record)


def test_weights_that_blow_up_diverge_at_the_next_step(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "minigpt_search.model.training.loop.lr_at", lambda step, **_: 1e38 if step == 2 else 1e-3
    )
    result = train(tiny, corpus)
    assert (result.status, result.steps) == (DIVERGED, 4)


def test_a_non_finite_validation_loss_diverges(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_loss(monkeypatch, lambda loss: loss * math.nan, at=2, training=False)
    result = train(tiny, corpus)
    assert result.status == DIVERGED
    assert result.error == "validation loss not finite after epoch 2"
    assert len(result.epochs) == 1


@pytest.mark.parametrize(("warmup_steps", "step"), [(0, 12), (3, 12), (13, 14)])
def test_a_loss_that_explodes_without_becoming_nan_diverges_after_the_warm_up(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch, warmup_steps: int, step: int
) -> None:
    exploded = math.log(tiny.model.vocab_size) + 1.5
    damage_loss(monkeypatch, lambda loss: loss * 0 + exploded, at=2, training=True, onwards=True)
    config = tiny.replace(warmup_steps=warmup_steps)
    result = train(config, corpus)
    # The mean starts at ln(V), the first loss is about that, and each step goes a tenth of the way
    # to its loss: 1.5 * (1 - 0.9 ** n) > 1 from n = 11 on.
    assert result.status == DIVERGED
    assert result.error is not None and "exploded (loss 5.594 nats" in result.error
    assert result.steps == step


def test_one_bad_batch_is_no_explosion(
    corpus: Corpus, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_loss(monkeypatch, lambda loss: loss + 8.0, at=7, training=True)
    assert train(tiny, corpus).status == COMPLETE
