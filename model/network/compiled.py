"""The blocks compiled by Inductor, for long runs on a GPU.

A block's step is some hundred small kernels that each wait for the one before; Inductor makes
fewer of them. It can't trace a random stream of our own, so that dropout's numbers are drawn ahead
of each block: the same numbers, from the same stream.

Shapes: B sequences, T tokens, D width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import TORCH_TYPES
from minigpt_search.model.loss.gpu import keep_sums_exact
from minigpt_search.model.network.dropout import Dropout
from minigpt_search.model.network.gpt import GPT, Block

COMPILE_FROM_STEPS = 10_000
"""Expected, not yet measured on a GPU: compiling takes some tens of seconds the first time, a few
where Inductor's cache on disk has it, and saves part of a millisecond a step. The process' next run
of the same shape compiles nothing."""
MOST_SHAPES = 1000
"""How many a process may compile. By torch's own limit of 8 the ninth that a reused worker meets
would run uncompiled, without a word."""

Compute = Callable[..., Tensor]


def compile_blocks(model: GPT, config: RunConfig, backend: Any = "inductor") -> bool:
    """Compile the model's blocks for training on whole batches; all other calls stay as they are.

    It happens now, on made-up numbers: weights, gradients and random streams are not touched. If
    it fails a warning says why, and the model is as it was. Returns whether it is compiled.
    """
    from torch import _dynamo  # a second and a half, and most processes compile nothing

    if model.head.weight.is_cuda:
        keep_sums_exact()
    limits = _dynamo.config
    limits.recompile_limit = limits.accumulated_recompile_limit = MOST_SHAPES
    # What can't be traced as a whole is an error here, not a step in pieces.
    compute = torch.compile(Block.forward, backend=backend, dynamic=False, fullgraph=True)
    shape = (config.train.batch_size, config.model.seq_len, config.model.embed_dim)
    x = torch.zeros(shape, device=model.head.weight.device, requires_grad=True)
    dtype = TORCH_TYPES[config.train.precision]
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    try:
        # One compilation serves all blocks, which are alike; each is tried, forward and backward.
        for block in blocks:
            drawn = tuple(
                torch.zeros(n, dtype=torch.int16, device=x.device) if drop.p else None
                for drop, n in _draws(block, x)
            )
            with torch.autocast(x.device.type, dtype=dtype, enabled=dtype.itemsize < 4):
                y = compute(block, x, drawn)
            torch.autograd.grad(y.sum(), x)
    except Exception as error:  # noqa: BLE001 - Dynamo, Inductor and Triton raise many kinds
        notes.note(f"blocks are not compiled: {notes.first_line(error)}")
        return False
    for block in blocks:
        block.forward = functools.partial(  # type: ignore[method-assign]
            _forward, compute, block, shape[0]
        )
    return True


def _forward(compute: Compute, block: Block, batch_size: int, x: Tensor) -> Tensor:
    """A block's output for x (B, T, D), by the compiled code where it is a training batch of
    `batch_size` sequences."""
    if not block.training or len(x) != batch_size:  # each other shape would be compiled anew
        return Block.forward(block, x)
    drawn = tuple(drop.draw(n, x.device) if drop.p else None for drop, n in _draws(block, x))
    return compute(block, x, drawn)


def _draws(block: Any, x: Tensor) -> list[tuple[Dropout, int]]:
    """The block's dropouts in the order in which it draws, and how many numbers each needs for x
    (B, T, D)."""
    b, t, _ = x.shape
    attention = block.attention
    return [
        (attention.dropout, b * attention.n_heads * t * t),
        (block.dropout, x.numel()),
        (block.dropout, x.numel()),
    ]
