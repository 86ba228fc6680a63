"""Losses by document against sums over each document's own text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.data.corpus.split_documents import FILE, SplitDocuments
from minigpt_search.data.tokenizers.gpt2 import GPT2Tokenizer
from minigpt_search.model.config import ModelConfig, RunConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import COMPLETE
from minigpt_search.model.scoring import document_losses
from minigpt_search.model.scoring.document_losses import losses_by_document
from minigpt_search.model.scoring.evaluate import evaluate, scored_windows
from minigpt_search.model.training.train import train

T = 8


def small_gpt(vocab_size: int) -> GPT:
    torch.manual_seed(0)
    return GPT(ModelConfig(vocab_size=vocab_size, seq_len=T, embed_dim=16, n_layers=1, n_heads=2))


def test_each_document_s_sum_is_that_of_its_own_tokens(search_root: Path) -> None:
    """Which text is of which document is looked up in the source, the plain losses come from the
    logits."""
    corpus = open_corpus(search_root / "corpus" / "small")
    documents, dataset = corpus.documents("val"), corpus.dataset("val", T)
    assert documents is not None
    model, losses = small_gpt(corpus.vocab_size), list[torch.Tensor]()
    loss = evaluate(model, dataset, token_losses=losses)
    assert loss == evaluate(model, dataset)  # to the bit
    found = losses_by_document(documents, scored_windows(dataset, None), losses)

    x, y = dataset.batch(torch.arange(len(dataset)))
    logits = model.eval().logits(x).double()
    own = -logits.log_softmax(-1).gather(-1, y[..., None]).squeeze(-1).detach().flatten()
    tokens = torch.cat((x[0, :1], y.flatten())).tolist()  # windows lie end to end
    texts = (search_root / "prose.txt").read_text().split("\n<|endoftext|>\n")
    tokenizer, order, document = GPT2Tokenizer(search_root), [], []
    for end in np.cumsum(documents.tokens).tolist():
        text = tokenizer.decode_bytes(tokens[len(document) : end]).decode()
        (number,) = [n for n, each in enumerate(texts) if text in each]  # one has it
        order += [number] * (number not in order)
        document += [order.index(number)] * (min(end, len(tokens)) - len(document))
    expected = np.bincount(document[1:], weights=own.numpy())
    assert len(found.nats) == corpus.manifest.splits["val"].documents >= 3
    assert np.array(found.nats) == pytest.approx(expected, abs=2e-3)
    assert found.tokens == tuple(np.bincount(document[1:]).tolist())
    assert set(found.sources) == {0}
    assert sum(found.nats) / sum(found.tokens) == pytest.approx(loss, abs=1e-5)


def test_a_trial_s_losses_by_document_are_those_of_its_last_epoch(
    search_root: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    config = RunConfig().replace(
        vocab_size=corpus.vocab_size, embed_dim=16, n_layers=1, n_heads=2, seq_len=T, epochs=2,
        tokens_per_epoch=512, val_tokens=256, batch_size=8, warmup_steps=2,
    )  # fmt: skip
    result = train(config, corpus, checkpoint_dir=tmp_path)
    assert result.status == COMPLETE
    by_document = result.val_documents
    assert by_document is not None
    assert sum(by_document.tokens) == 256
    mean = sum(by_document.nats) / 256
    assert mean == pytest.approx(result.epochs[-1].val_loss_nats, abs=1e-5)


def test_many_documents_are_summed_in_groups_of_one_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(document_losses, "MOST_GROUPS", 10)
    documents = SplitDocuments(
        tokens=(4,) * 50, document=tuple(range(50)), source=(0, 1, 1, 1, 1) * 10
    )
    losses = torch.arange(196.0).view(49, 4) / 8
    found = losses_by_document(documents, torch.arange(49), [losses[:20], losses[20:]])
    assert len(found.nats) == 10
    assert sorted(found.sources) == [0] * 2 + [1] * 8
    assert sum(found.tokens) == 196
    assert sum(found.nats) == pytest.approx(losses.sum().item())


def test_pieces_of_one_document_are_one_document() -> None:
    documents = SplitDocuments(tokens=(3, 2, 4), document=(0, 1, 0), source=(0, 0, 0))
    found = losses_by_document(documents, torch.arange(2), [torch.ones(2, 4)])
    assert found.tokens == (6, 2)  # the first token of all is predicted by none
    assert found.nats == (6.0, 2.0)


def test_a_damaged_file_is_named_and_one_of_before_is_not_missed(
    search_root: Path, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "small"
    shutil.copytree(search_root / "corpus" / "small", folder)
    (folder / FILE).write_text((folder / FILE).read_text().replace("[", "[1,", 1))
    with pytest.raises(UserError, match=r"documents.json: its SHA-256 .* prepare it again"):
        open_corpus(folder).documents("val")
    (folder / FILE).unlink()
    with pytest.raises(UserError, match=r"documents.json: this file of the corpus is missing"):
        open_corpus(folder)
