"""The GPT against `transformers`' GPT-2 with the same weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from minigpt_search.model.config import ModelConfig
from minigpt_search.model.export import transformers_config, transformers_weights
from minigpt_search.model.network.gpt import GPT

if TYPE_CHECKING:  # two seconds, for the process that runs these tests
    from transformers import GPT2LMHeadModel

SHAPES = [
    ModelConfig(vocab_size=50, seq_len=12, embed_dim=16, n_layers=1, n_heads=1),
    ModelConfig(vocab_size=300, seq_len=9, embed_dim=24, n_layers=3, n_heads=4),
    ModelConfig(vocab_size=2500, seq_len=20, embed_dim=32, n_layers=2, n_heads=8),  # two tiles
    ModelConfig(vocab_size=50, seq_len=12, embed_dim=16, n_layers=2, n_heads=2, tie_head=False),
]
shapes = pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{c.vocab_size}-{c.embed_dim}")


def scrambled(config: ModelConfig) -> GPT:
    """A model whose every parameter, biases and norms too, matters."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def new_peer(config: ModelConfig) -> GPT2LMHeadModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(**transformers_config(config)))


def peer_of(model: GPT) -> GPT2LMHeadModel:
    peer = new_peer(model.config)
    missing, unexpected = peer.load_state_dict(transformers_weights(model), strict=False)
    assert missing == (["lm_head.weight"] if model.config.tie_head else [])
    assert unexpected == []
    return peer.eval()


def tokens_for(config: ModelConfig) -> Tensor:
    return torch.randint(config.vocab_size, (5, config.seq_len))


def gradients(model: GPT) -> dict[str, Tensor]:
    """Under `transformers`' names: the gradients take the weights' place in a copy."""
    holder = copy.deepcopy(model)
    for parameter, original in zip(holder.parameters(), model.parameters(), strict=True):
        assert original.grad is not None
        parameter.data = original.grad
    return transformers_weights(holder)


@shapes
@torch.no_grad()
def test_same_logits(config: ModelConfig) -> None:
    model, tokens = scrambled(config), tokens_for(config)
    peer = peer_of(model)
    for length in (1, 5, config.seq_len):
        theirs = peer(tokens[:, :length]).logits
        torch.testing.assert_close(model.logits(tokens[:, :length]), theirs, atol=1e-5, rtol=1e-5)


@shapes
def test_same_loss_and_same_gradients(config: ModelConfig) -> None:
    model, tokens = scrambled(config), tokens_for(config)
    peer = peer_of(model)
    loss = model.loss(tokens[:, :-1], tokens[:, 1:])
    expected = peer(tokens, labels=tokens).loss  # it shifts the labels itself
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    loss.backward()
    expected.backward()
    ours = gradients(model)
    names = {name for name, _ in peer.named_parameters()}
    assert ours.keys() == names
    for name, parameter in peer.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("tie_head", [True, False])
def test_same_number_of_parameters_at_the_recipe_s_size(tie_head: bool) -> None:
    config = ModelConfig(tie_head=tie_head)
    with torch.device("meta"):
        peer = new_peer(config)
        ours = GPT(config)
    assert peer.num_parameters() == sum(parameter.numel() for parameter in ours.parameters())
