"""Cross-entropy of the output head without ever holding all logits.

At vocabulary 50,257 the head is 94% of the arithmetic, and the logits of a step (2,048 tokens)
would be 412 MB. Here chunks of rows meet the vocabulary, and the gradients are made in the forward
pass, since the loss is the graph's last node (the idea of Cut Cross-Entropy, arXiv 2411.09009,
and of Liger's fused loss, arXiv 2410.10989). How a chunk is computed depends on the device:
`model/loss/cpu.py`, `model/loss/gpu.py`.

Shapes: N rows (tokens), D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from minigpt_search.model.loss import cpu as loss_cpu
from minigpt_search.model.loss import gpu as loss_gpu


def linear_cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Mean cross-entropy in nats of `softmax(x @ weight.T)` against `targets`.

    x (N, D) and weight (V, D) are floating-point, targets (N,) int64. `dtype` is the type of the
    matrix products; sums are in fp32, or in fp64 if x is. Returns a scalar.
    """
    dtype, acc_dtype = _types(x, dtype)
    # Asked here, since inside the function gradients are off and `needs_input_grad` looks at the
    # inputs alone: under `no_grad` it would still have the weight's gradient made.
    with_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _LinearCrossEntropy.apply(x, weight, targets, dtype, acc_dtype, with_grad)


@torch.no_grad()
def row_cross_entropies(x: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What `linear_cross_entropy` gives in its default type, to the bit, and each row's loss
    (N,)."""
    dtype, acc_dtype = _types(x, torch.float32)
    losses = torch.empty(len(x), dtype=acc_dtype, device=x.device)
    sum_losses = (loss_gpu if x.is_cuda else loss_cpu).sum_losses
    with torch.autocast(x.device.type, enabled=False):
        total = sum_losses(x, weight, targets, dtype, acc_dtype, None, None, losses)
    return (total / len(x)).to(acc_dtype), losses


def _types(x: Tensor, dtype: torch.dtype) -> tuple[torch.dtype, torch.dtype]:
    """The type of the products and that of the sums: fp64 for both if x is."""
    acc_dtype = torch.promote_types(x.dtype, torch.float32)
    return (acc_dtype if acc_dtype == torch.float64 else dtype), acc_dtype


class _LinearCrossEntropy(torch.autograd.Function):
    """Makes the gradients in `forward`, while the chunk's logits are there; `backward` scales
    them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        acc_dtype: torch.dtype,
        with_grad: bool,
    ) -> Tensor:
        # Made in the accumulation type, and divided by N only in `backward`: in fp16 the softmax
        # over N would underflow.
        grad_x = torch.empty_like(x, dtype=acc_dtype) if with_grad else None
        grad_w = torch.zeros_like(weight, dtype=acc_dtype) if with_grad else None
        sum_losses = (loss_gpu if x.is_cuda else loss_cpu).sum_losses
        with torch.autocast(x.device.type, enabled=False):
            total = sum_losses(x, weight, targets, dtype, acc_dtype, grad_x, grad_w)
        if with_grad:
            ctx.save_for_backward(grad_x, grad_w)
            ctx.n, ctx.types = x.shape[0], (x.dtype, weight.dtype)
        return (total / x.shape[0]).to(acc_dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # In place, since nothing else sees them and the weight's gradient alone is 26 MB.
        scale = grad / ctx.n
        grad_x, grad_w = (saved.mul_(scale) for saved in ctx.saved_tensors)
        return grad_x.to(ctx.types[0]), grad_w.to(ctx.types[1]), None, None, None, None
