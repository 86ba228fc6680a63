"""Triton kernel of the head's softmax: losses, and the logits' gradients in place of the logits.

One pass over a row finds maximum and sum (Milakov & Gimelshein 2018, arXiv 1805.02867), a second
writes the gradients. A row of 50,257 in bf16 is 100 KB, so that the second pass finds it in the
second-level cache; in device memory it is read once and written once, where plain torch goes
through it some ten times, mostly in fp32.

Shapes: C rows, V vocabulary, W ≥ V width of a row in memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
"""Logits of a row at a time."""
WARPS = 8
"""Warps of 32 threads for each row, so that a thread has 16 logits of a block."""


@triton.jit
def softmax_kernel(  # type: ignore[no-untyped-def]
    logits,
    targets,
    losses,
    stride,
    V: tl.constexpr,
    W: tl.constexpr,
    GRADIENTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Does one row, that of the program's number: its loss, and its gradients with `GRADIENTS`."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    target_logit = tl.load(logits + target).to(tl.float32)
    columns = tl.arange(0, BLOCK)
    # A maximum and a sum for each lane; finite, since -inf minus -inf would not be a number.
    lane_max = tl.full([BLOCK], -3.0e38, tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, W, BLOCK):
        at = start + columns
        # Masked by the width, which is even: `at < V` would keep a thread from loading 16 bytes
        # at once (seen in the PTX).
        z = tl.load(logits + at, mask=at < W, other=0.0).to(tl.float32)
        z = tl.where(at < V, z, float("-inf"))
        higher = tl.maximum(lane_max, z)
        sums = sums * tl.exp(lane_max - higher) + tl.exp(z - higher)
        lane_max = higher
    row_max = tl.max(lane_max, axis=0)
    log_sum = row_max + tl.log(tl.sum(sums * tl.exp(lane_max - row_max), axis=0))
    tl.store(losses + row, log_sum - target_logit)
    if GRADIENTS:
        for start in range(0, W, BLOCK):
            at = start + columns
            z = tl.load(logits + at, mask=at < W, other=0.0).to(tl.float32)
            z = tl.where(at < V, z, float("-inf"))
            gradient = tl.exp(z - log_sum) - (at == target).to(tl.float32)
            tl.store(logits + at, gradient.to(logits.dtype.element_ty), mask=at < W)


def softmax_losses(logits: Tensor, targets: Tensor, v: int, *, gradients: bool) -> Tensor:
    """The cross-entropy of each row's first `v` logits in nats, (C,) fp32.

    logits (C, W) in fp32, bf16 or fp16 with rows in one piece, targets (C,) int64. With
    `gradients`, softmax minus one-hot takes the logits' place, 0 beyond `v`.
    """
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    softmax_kernel[(len(logits),)](
        logits,
        targets,
        losses,
        logits.stride(0),
        V=v,
        W=logits.shape[1],
        GRADIENTS=gradients,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )
    return losses
