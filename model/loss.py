"""Cross-entropy of the output head without ever holding all logits.

At vocabulary 50,257 the head is 94% of the arithmetic, and the logits of a step (2,048 tokens)
would be 412 MB. Here a chunk of rows meets the vocabulary tile by tile, so that each tile of
logits is exponentiated while it is in cache, and the gradients are made in the forward pass,
since the loss is the graph's last node (the idea of Cut Cross-Entropy, arXiv 2411.09009, and of
Liger's fused loss, arXiv 2410.10989).

Shapes: N rows (tokens), C rows of a chunk, D width, V vocabulary, U vocabulary of a tile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CPU_CHUNK, CPU_TILE = 256, 2048
"""Rows and vocabulary of a tile: 2 MB of fp32. On an AMD EPYC (Zen 3, AVX2), two processes of one
thread each, forward and backward took 0.75 of the time of 128 rows by the whole vocabulary
(2026-11-22; 256 to 8192 wide tiles tried)."""
CUDA_CHUNK = 4096
"""Rows on a GPU, where one tile is the whole vocabulary."""


def linear_cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Mean cross-entropy in nats of `softmax(x @ weight.T)` against `targets`.

    x (N, D) and weight (V, D) are floating-point, targets (N,) int64. `dtype` is the type of the
    matrix products; softmax and sums are in fp32, or in fp64 if x is. Returns a scalar.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    if wide == torch.float64:
        dtype = wide
    # Asked here, since inside the function gradients are off and `needs_input_grad` looks at the
    # inputs alone: under `no_grad` it would still have the weight's gradient made.
    with_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _LinearCrossEntropy.apply(x, weight, targets, dtype, wide, with_grad)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        wide: torch.dtype,
        with_grad: bool,
    ) -> Tensor:
        grad_x = torch.zeros_like(x, dtype=wide) if with_grad else None
        grad_w = torch.zeros_like(weight, dtype=wide) if with_grad else None
        chunk = CUDA_CHUNK if x.is_cuda else CPU_CHUNK
        tiles = weight.to(dtype).split(weight.shape[0] if x.is_cuda else CPU_TILE)  # (U, D) each
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, x.shape[0], chunk):
                rows = slice(start, start + chunk)
                xc, yc = x[rows].to(dtype), targets[rows]  # (C, D), (C,)
                at_target = (xc.to(wide) * weight[yc].to(wide)).sum(dim=1)  # (C,)
                parts, log_sum = _exponentials(tiles, xc, wide, keep=with_grad)
                total += (log_sum - at_target).sum(dtype=torch.float64)
                if grad_x is not None and grad_w is not None:
                    _add_gradients(grad_x[rows], grad_w, parts, log_sum, tiles, xc)
                    # softmax minus one-hot: here the one-hot's part
                    grad_x[rows] -= weight[yc]
                    grad_w.index_add_(0, yc, xc.to(wide), alpha=-1)
        if with_grad:
            ctx.save_for_backward(grad_x, grad_w)
            ctx.n, ctx.types = x.shape[0], (x.dtype, weight.dtype)
        return (total / x.shape[0]).to(wide)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # Divided by N only here, in the wide type: in fp16 the softmax over N would underflow. In
        # place, since nothing else sees them and the weight's gradient alone is 26 MB.
        scale = grad / ctx.n
        grad_x, grad_w = (saved.mul_(scale) for saved in ctx.saved_tensors)
        return grad_x.to(ctx.types[0]), grad_w.to(ctx.types[1]), None, None, None, None


def _exponentials(
    tiles: tuple[Tensor, ...], xc: Tensor, wide: torch.dtype, *, keep: bool
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The log-sum-exp of the chunk's logits (C,), and, if they are kept, for each tile
    exp(logits - peak) (C, U) and the row's peak in the tile (C, 1)."""
    parts, sums = [], []
    for tile in tiles:
        logits = torch.mm(xc, tile.t()).to(wide)
        peak = logits.amax(dim=1, keepdim=True)
        exponentials = logits.sub_(peak).exp_()
        sums.append(peak[:, 0] + exponentials.sum(dim=1).log_())
        if keep:
            parts.append((exponentials, peak))
    return parts, torch.stack(sums).logsumexp(dim=0)


def _add_gradients(
    grad_x: Tensor,
    grad_w: Tensor,
    parts: list[tuple[Tensor, Tensor]],
    log_sum: Tensor,
    tiles: tuple[Tensor, ...],
    xc: Tensor,
) -> None:
    """Add the softmax's part of the gradients; the exponentials are overwritten."""
    grad_tiles = grad_w.split(tiles[0].shape[0])
    for (exponentials, peak), tile, grad_tile in zip(parts, tiles, grad_tiles, strict=True):
        softmax = exponentials.mul_((peak - log_sum[:, None]).exp_()).to(tile.dtype)  # (C, U)
        if tile.dtype == grad_w.dtype:
            grad_x.addmm_(softmax, tile)
            grad_tile.addmm_(softmax.t(), xc)
        else:
            grad_x += torch.mm(softmax, tile)
            grad_tile += torch.mm(softmax.t(), xc)
