"""The embedding's gradient of the GPU's way against float64, on a CPU; the kernel in Triton's
interpreter, where Triton is installed. On a GPU: `tests/model/hardware/test_gpu.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minigpt_search.model.config import RunConfig
from minigpt_search.model.network import embedding
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.network.packed_gpt import PackedGPT

TOKENS = 2048
"""Of a step of the recipe: above the 1,024 at which torch's own kernel refills its buffer."""


def batch(vocab_size: int = 500, width: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (N,) of which a few are most, as in text; gradients of their rows (N, D), and of the
    head (V, D)."""
    generator = torch.Generator().manual_seed(0)
    tokens = (torch.rand(TOKENS, generator=generator) ** 4 * vocab_size).long()
    rows = torch.randn(TOKENS, width, generator=generator)
    return tokens, rows, torch.randn(vocab_size, width, generator=generator)


def test_rows_are_added_to_the_head_s_gradient() -> None:
    tokens, rows, head = batch()
    expected = head.double().index_add_(0, tokens, rows.double())
    total = head.clone()
    assert embedding.add_rows(total, tokens, rows) is total
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
    for _ in range(10):
        assert torch.equal(embedding.add_rows(head.clone(), tokens, rows), total)


@pytest.fixture
def gpu_s_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "is_needed", lambda tokens: True)


def gradients(model: GPT | PackedGPT, losses: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(torch.stack(losses).sum(), weights))


@pytest.mark.parametrize("tie_head", [True, False])
def test_a_model_s_gradients_are_those_of_torch_s_embedding(
    tiny: RunConfig, tie_head: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = GPT(tiny.replace(tie_head=tie_head, dropout=0.0).model).double()
    tokens = torch.randint(60, (8, 8))
    weights = list(model.parameters())
    expected = gradients(model, [model.loss(tokens, tokens.flip(0))], weights)
    monkeypatch.setattr(embedding, "is_needed", lambda tokens: True)
    calls = []
    add_rows = embedding.add_rows
    monkeypatch.setattr(embedding, "add_rows", lambda *args: calls.append(1) or add_rows(*args))
    found = gradients(model, [model.loss(tokens, tokens.flip(0))], weights)
    assert len(calls) == 1
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_a_pack_s_gradients_are_those_of_torch_s_embedding(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    pack = PackedGPT([GPT(tiny.replace(dropout=0.0).model).double() for _ in range(2)])
    tokens = torch.randint(60, (2, 8, 8))
    weights = [m.token_embedding.weight for m in pack.members]
    expected = gradients(pack, pack.losses(tokens, tokens.flip(1)), weights)
    monkeypatch.setattr(embedding, "is_needed", lambda tokens: True)
    found = gradients(pack, pack.losses(tokens, tokens.flip(1)), weights)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_logits_alone_have_a_gradient_too(tiny: RunConfig, gpu_s_way: None) -> None:
    model = GPT(tiny.replace(dropout=0.0).model)
    tokens = torch.randint(60, (8, 8))
    model.logits(tokens).square().sum().backward()
    weight = model.token_embedding.weight
    assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any()


class Operations(TorchDispatchMode):
    """Remembers which operations were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_step_neither_waits_for_the_device_nor_asks_how_many_tokens_there_are(
    tiny: RunConfig, gpu_s_way: None
) -> None:
    model, tokens = GPT(tiny.model), torch.randint(60, (8, 8))
    with Operations() as seen:
        hidden, head = model._hidden_and_head(tokens)
        (hidden.sum() + head.sum()).backward()
    assert "_index_put_impl_" in seen.names
    waiting = {"_local_scalar_dense", "nonzero", "_unique2", "unique_consecutive", "index_add_"}
    assert not seen.names & (waiting | {"embedding_dense_backward"})


def test_a_kernel_that_gives_wrong_sums_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a machine without CUDA the trial of it fails as it would with a driver that can't.
    embedding.scatter_fault.cache_clear()
    fault = embedding.scatter_fault()
    assert fault is not None and fault.startswith("no Triton kernel for the embedding's gradient")
    embedding.scatter_fault.cache_clear()


CHECK = """
import torch
from minigpt_search.model.network.scatter_kernel import scatter

generator = torch.Generator().manual_seed(0)
for n, d, v in ((2048, 24, 500), (1, 128, 7), (65, 130, 3), (300, 100, 50_257), (0, 8, 4)):
    tokens = (torch.rand(n, generator=generator) ** 4 * v).long()
    rows = torch.randn(n, d, generator=generator)
    head = torch.randn(v, d, generator=generator)
    expected = head.double().index_add_(0, tokens, rows.double())
    total = head.clone()
    scatter(total, tokens, rows)
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-4)
    untouched = torch.ones(v, dtype=torch.bool)
    untouched[tokens] = False
    assert torch.equal(total[untouched], head[untouched])
    again = head.clone()
    scatter(again, tokens, rows)
    assert torch.equal(again, total)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_against_float64() -> None:
    root = Path(__file__).resolve().parents[3]
    paths = [str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", CHECK], check=True, env=environment)


def test_on_a_gpu_it_is_not_torch_s_own() -> None:
    on_a_gpu: Any = SimpleNamespace(is_cuda=True)
    assert embedding.is_needed(on_a_gpu) and not embedding.is_needed(torch.zeros(1))
