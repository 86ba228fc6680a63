"""Compiled blocks against the same blocks as they are. Inductor itself needs a compiler and half a
minute; what Dynamo and autograd make of the blocks is the same without it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import TORCH_TYPES
from minigpt_search.model.network import compiled
from minigpt_search.model.network.compiled import compile_blocks
from minigpt_search.model.network.gpt import GPT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


def make_model(config: RunConfig) -> GPT:
    torch.manual_seed(0)
    return GPT(config.model).train()


def loss_and_gradients(model: GPT, config: RunConfig, batch_size: int) -> list[Tensor]:
    """With the state of dropout's stream as the last."""
    stream = torch.Generator().manual_seed(1)
    model.draw_dropout_from(stream)
    tokens = torch.randint(60, (batch_size, 8), generator=torch.Generator().manual_seed(2))
    loss = model.loss(tokens, tokens, TORCH_TYPES[config.train.precision])
    gradients = torch.autograd.grad(loss, tuple(model.parameters()))
    return [loss.detach(), *gradients, stream.get_state()]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_one_compilation_serves_all_blocks_and_draws_the_same_numbers(
    tiny: RunConfig, dropout: float
) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend  # a second and a half

    torch._dynamo.reset()
    config = tiny.replace(n_layers=2, dropout=dropout)
    expected = loss_and_gradients(make_model(config), config, 8)
    backend = CompileCounterWithBackend("aot_eager")
    for _ in range(2):  # the second run of a process compiles nothing
        model = make_model(config)
        assert compile_blocks(model, config, backend)
        assert all(parameter.grad is None for parameter in model.parameters())
        actual = loss_and_gradients(model, config, 8)
        for ours, theirs in zip(actual, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        loss_and_gradients(model, config, 3)  # an epoch's last batch is not compiled
        model.eval().loss(torch.zeros(8, 8).long(), torch.zeros(8, 8).long())
    assert backend.frame_count == 1
    assert list(model.state_dict()) == list(make_model(config).state_dict())


def test_the_tenth_shape_of_a_process_is_compiled_too(tiny: RunConfig) -> None:
    """A worker is reused, and each of its trials may have a shape of its own."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    backend = CompileCounterWithBackend("eager")
    for size in range(2, 12):
        config = tiny.replace(batch_size=size)
        model = make_model(config)
        assert compile_blocks(model, config, backend)
        compiled = backend.frame_count
        loss_and_gradients(model, config, size)
        assert backend.frame_count == compiled == size - 1


def test_blocks_that_can_t_be_traced_as_a_whole_are_said_to_be_uncompiled(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()

    def in_pieces(self: Any, x: Tensor, drawn: object = ()) -> Tensor:
        torch._dynamo.graph_break()
        return x * 2

    monkeypatch.setattr(compiled.Block, "forward", in_pieces)
    notes.begin()
    with pytest.warns(RuntimeWarning, match="blocks are not compiled"):
        assert not compile_blocks(make_model(tiny), tiny, "eager")
    assert len(notes.kept()) == 1


def test_a_compiler_that_fails_leaves_the_model_as_it_was(tiny: RunConfig) -> None:
    torch._dynamo.reset()

    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no C compiler")

    model = make_model(tiny)
    with pytest.warns(RuntimeWarning, match="blocks are not compiled"):
        assert not compile_blocks(model, tiny, broken)
    expected = loss_and_gradients(make_model(tiny), tiny, 8)
    for ours, theirs in zip(loss_and_gradients(model, tiny, 8), expected, strict=True):
        assert torch.equal(ours, theirs)
