"""The network's own promises; `test_transformers.py` compares it with GPT-2."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from minigpt_search.model.config import ModelConfig
from minigpt_search.model.network.gpt import GPT

CONFIG = ModelConfig(vocab_size=50, seq_len=10, embed_dim=16, n_heads=4)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(CONFIG)


def test_no_token_sees_a_later_one(model: GPT) -> None:
    model.eval()
    tokens = torch.randint(50, (2, 10))
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 50
    before, after = model.logits(tokens), model.logits(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6], after[:, 6])


def test_loss_is_the_cross_entropy_of_the_logits(model: GPT) -> None:
    model.eval()
    tokens, targets = torch.randint(50, (3, 7)), torch.randint(50, (3, 7))
    plain = F.cross_entropy(model.logits(tokens).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(model.loss(tokens, targets), plain)


def test_a_new_model_predicts_uniformly(model: GPT) -> None:
    model.eval()
    loss = model.loss(torch.randint(50, (20, 10)), torch.randint(50, (20, 10)))
    assert loss.item() == pytest.approx(math.log(50), abs=0.05)


def test_dropout_acts_in_training_only(model: GPT) -> None:
    tokens = torch.randint(50, (2, 10))
    assert not torch.equal(model.train()(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), model(tokens))


@pytest.mark.parametrize("tie_head", [True, False])
def test_the_head_shares_the_embedding_only_if_tied(tie_head: bool) -> None:
    model = GPT(ModelConfig(vocab_size=50, embed_dim=16, tie_head=tie_head))
    assert (model.head.weight is model.token_embedding.weight) == tie_head


def test_projections_into_the_residual_stream_start_smaller() -> None:
    weights = GPT(ModelConfig(vocab_size=50, embed_dim=128, n_layers=8)).state_dict()
    assert weights["blocks.3.expand.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    for part in ("contract", "attention.out"):
        assert weights[f"blocks.3.{part}.weight"].std().item() == pytest.approx(0.005, rel=0.05)
        assert not weights[f"blocks.3.{part}.bias"].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_products_give_an_fp32_loss_and_fp32_gradients(
    model: GPT, dtype: torch.dtype
) -> None:
    model.eval()
    tokens, targets = torch.randint(50, (4, 10)), torch.randint(50, (4, 10))
    loss = model.loss(tokens, targets, dtype)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(model.loss(tokens, targets).item(), abs=2e-3)
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
