"""The loss on the text that a run was trained on: which windows, without dropout, nothing else
changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.batching.order import evenly_spaced, text_of, training_order
from minigpt_search.model.config import RunConfig
from minigpt_search.model.scoring.evaluate import scored_windows
from minigpt_search.model.scoring.training_windows import trained_windows
from minigpt_search.model.training.checkpoint import load_model
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.train import TrainResult, train, train_packed
from minigpt_search.model.training.trunk import train_branches

SMALL = RunConfig().replace(
    embed_dim=16, n_layers=1, n_heads=2, seq_len=16, epochs=2, tokens_per_epoch=1024,
    val_tokens=256, batch_size=8, warmup_steps=2, dropout=0.3,
)  # fmt: skip


@pytest.mark.parametrize("schedule", ["linear", "wsd"])
@pytest.mark.parametrize(("count", "trained", "available"), [(4, 9, 100), (50, 7, 20), (1, 1, 1)])
def test_windows_are_those_of_an_epoch(
    count: int, trained: int, available: int, schedule: str
) -> None:
    order = training_order(trained, available, seed=3, epoch=2, schedule=schedule)
    epoch = set(order.tolist())
    text = text_of(trained, available, seed=3, schedule=schedule)
    windows = trained_windows(count, text).tolist()
    assert len(set(windows)) == len(windows) == min(count, trained)
    assert set(windows) <= epoch


def test_the_loss_is_the_last_weights_without_dropout(search_root: Path, tmp_path: Path) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    config = SMALL.replace(vocab_size=corpus.vocab_size)
    plain = train(config, corpus)
    result = train(config, corpus, checkpoint_dir=tmp_path, score_training=True)
    assert plain.train_eval_loss_nats is None
    assert losses(plain) == losses(result)  # to the last bit
    assert result.checkpoint is not None
    model, _, _ = load_model(tmp_path / result.checkpoint.path)
    train_set, val_set = corpus.dataset("train", 16), corpus.dataset("val", 16)
    count = len(scored_windows(val_set, config.train.val_tokens))
    assert count == 16
    x, y = train_set.batch(trained_windows(count, evenly_spaced(64, len(train_set))))
    own = cross_entropy(model.eval().logits(x).double().flatten(0, 1), y.flatten())
    assert result.train_eval_loss_nats == pytest.approx(own.item(), abs=1e-5)


def losses(result: TrainResult) -> list[tuple[float, float]]:
    return [(epoch.train_loss_nats, epoch.val_loss_nats) for epoch in result.epochs]


def test_a_pack_and_a_trunk_have_it_too(search_root: Path, tmp_path: Path) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    config = SMALL.replace(vocab_size=corpus.vocab_size, schedule="wsd", dropout=0.0)
    alone = train(config, corpus, score_training=True).train_eval_loss_nats
    other = config.replace(seed=1)
    packed = train_packed([config, other], corpus, score_training=True)
    assert packed[0].train_eval_loss_nats == pytest.approx(alone, abs=1e-3)
    assert packed[1].train_eval_loss_nats != packed[0].train_eval_loss_nats
    branches = train_branches(
        [config, config.replace(epochs=3)],
        corpus,
        device="cpu",
        checkpoint_dirs=[tmp_path / "short", tmp_path / "long"],
        checkpoint_every_seconds=100.0,
        hooks=[Hooks(), Hooks()],
        score_training=True,
    )
    found = {number: result.train_eval_loss_nats for number, result in branches}
    torch.testing.assert_close(found[0], alone, rtol=0, atol=0)
    assert found[1] is not None and found[1] != found[0]
