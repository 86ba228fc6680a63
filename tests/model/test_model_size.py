"""Parameters and operations as counted, against those of the model itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minigpt_search.model.config import ModelConfig
from minigpt_search.model.model_size import flops_per_token, parameter_count, parameter_table
from minigpt_search.model.network.gpt import GPT


@pytest.mark.parametrize(("tie_head", "expected"), [(True, 6_837_888), (False, 13_270_784)])
def test_parameter_counts_of_the_recipe(tie_head: bool, expected: int) -> None:
    config = ModelConfig(tie_head=tie_head)
    assert sum(p.numel() for p in GPT(config).parameters()) == expected
    assert parameter_count(config) == expected
    assert sum(count for _, _, count in parameter_table(config)) == expected


@settings(max_examples=30, deadline=None)
@given(
    config=st.builds(
        lambda heads, width, **fields: ModelConfig(
            n_heads=heads, embed_dim=heads * width, **fields
        ),
        heads=st.integers(1, 4),
        width=st.integers(1, 6),
        vocab_size=st.integers(1, 80),
        seq_len=st.integers(1, 20),
        n_layers=st.integers(1, 3),
        tie_head=st.booleans(),
    )
)
def test_parameter_count_is_the_module_s(config: ModelConfig) -> None:
    assert parameter_count(config) == sum(p.numel() for p in GPT(config).parameters())


@pytest.mark.parametrize("tie_head", [True, False])
def test_flops_per_token_are_those_that_torch_counts(tie_head: bool) -> None:
    config = ModelConfig(vocab_size=50, seq_len=8, embed_dim=12, dropout=0.0, tie_head=tie_head)
    model, tokens = GPT(config), torch.zeros(3, 8, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.logits(tokens).sum().backward()
    assert flops_per_token(config) == counter.get_total_flops() / tokens.numel()
