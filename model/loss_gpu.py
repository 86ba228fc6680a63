"""The head's losses and gradients on a GPU: chunks of rows by the whole vocabulary.

Shapes: N rows (tokens), C rows of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Rows at a time."""


def sum_losses(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    dtype: torch.dtype,
    wide: torch.dtype,
    grad_x: Tensor | None,
    grad_w: Tensor | None,
) -> Tensor:
    """The sum of the rows' losses in nats, a scalar in fp64.

    x (N, D), weight (V, D), targets (N,); matrix products in `dtype`, sums in `wide`. The sum's
    gradients are written to `grad_x` (N, D) and added to `grad_w` (V, D), if they are given.
    """
    w = weight.to(dtype)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for start in range(0, x.shape[0], CHUNK):
        rows = slice(start, start + CHUNK)
        xc, yc = x[rows].to(dtype), targets[rows, None]  # (C, D), (C, 1)
        logits = torch.mm(xc, w.t()).to(wide)
        log_sum = logits.logsumexp(dim=1, keepdim=True)  # (C, 1)
        total += (log_sum - logits.gather(1, yc)).sum(dtype=torch.float64)
        if grad_x is not None and grad_w is not None:
            logits.sub_(log_sum).exp_()
            logits.scatter_add_(1, yc, torch.full_like(log_sum, -1.0))
            softmax_minus_one_hot = logits.to(dtype)  # (C, V)
            grad_x[rows] = torch.mm(softmax_minus_one_hot, w)
            grad_w += torch.mm(softmax_minus_one_hot.t(), xc)
    return total
