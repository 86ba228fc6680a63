"""The head's losses and gradients on a GPU: chunks of rows by the whole vocabulary.

Passes over the logits are what costs here (206 MB in bf16 for 2,048 rows), so they are made once,
in the products' type, and one kernel turns them into their gradients;
`model/loss/softmax_kernel.py` where Triton runs, else plain torch.

Shapes: N rows (tokens), C rows of a chunk, D width, V vocabulary, W its width in memory.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from minigpt_search.model import notes
from minigpt_search.model.out_of_memory import is_out_of_memory

CHUNK = 4096
"""Rows at a time; their logits take 412 MB in bf16 at V = 50,257."""
ALIGNMENT = 64
"""The vocabulary's width is rounded up to a multiple of this: rows of 50,257 numbers of
2 bytes begin at odd addresses, which keeps cuBLAS from its fast kernels (its guide wants multiples
of 16 bytes)."""


def sum_losses(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    dtype: torch.dtype,
    acc_dtype: torch.dtype,
    grad_x: Tensor | None,
    grad_w: Tensor | None,
    row_losses: Tensor | None = None,
) -> Tensor:
    """The sum of the rows' losses in nats, a scalar in fp64.

    x (N, D), weight (V, D), targets (N,); matrix products in `dtype`, sums in `acc_dtype`. The
    sum's gradients are written to `grad_x` (N, D) and added to `grad_w` (V, D), and each row's loss
    to `row_losses` (N,), if they are given.
    """
    v = len(weight)
    w = _padded(weight, dtype)  # (W, D)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for start in range(0, x.shape[0], CHUNK):
        rows = slice(start, start + CHUNK)
        xc, yc = x[rows].to(dtype), targets[rows]  # (C, D), (C,)
        logits = torch.mm(xc, w.t())  # (C, W)
        losses = _losses(logits, yc, v, acc_dtype, gradients=grad_w is not None)
        total += losses.sum(dtype=torch.float64)
        if row_losses is not None:
            row_losses[rows] = losses
        if grad_x is not None and grad_w is not None:  # `logits` holds the gradients by now
            grad_x[rows] = _product(logits, w, acc_dtype)
            grad_w += _product(logits.t(), xc, acc_dtype)[:v]
    return total


def _product(a: Tensor, b: Tensor, acc_dtype: torch.dtype) -> Tensor:
    """a (C, E) times b (E, F), (C, F): in `acc_dtype` where such a product of these types can be
    had, so that sums over thousands of numbers are not rounded to bf16 or fp16 at the end."""
    if a.dtype != acc_dtype and gives_fp32(a.dtype, a.device.type):
        return torch.mm(a, b, out_dtype=acc_dtype)
    return torch.mm(a, b)


@functools.cache
def gives_fp32(dtype: torch.dtype, device: str) -> bool:
    """Whether torch multiplies this type with fp32 as its result here: since torch 2.8 on CUDA."""
    try:
        one = torch.ones(16, 16, dtype=dtype, device=device)
        return torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32
    except (TypeError, RuntimeError, NotImplementedError) as error:  # no such argument, or kernel
        if is_out_of_memory(error):  # it passes, while an answer stays for the process
            raise
        return False


@functools.cache
def keep_sums_exact() -> None:
    """Have cuBLAS add in fp32 also where it splits a long sum among blocks: torch lets it add the
    parts in bf16 or fp16 by default. To be called before anything is compiled or computed: code is
    compiled anew when this changes, and a run's first step would have other bits than its second.
    """
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def _padded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of `weight` (V, D) in this type with rows of zeros below, (W, D)."""
    v, d = weight.shape
    padded = torch.empty(-(-v // ALIGNMENT) * ALIGNMENT, d, dtype=dtype, device=weight.device)
    padded[:v] = weight
    padded[v:] = 0
    return padded


def _losses(
    logits: Tensor, targets: Tensor, v: int, acc_dtype: torch.dtype, *, gradients: bool
) -> Tensor:
    """Each row's cross-entropy in nats, (C,), as `softmax_kernel.softmax_losses` has it: with
    `gradients` those of the logits take the place of `logits` (C, W). Sums are in `acc_dtype`.
    """
    if logits.is_cuda and acc_dtype == torch.float32 and triton_runs():
        from minigpt_search.model.loss.softmax_kernel import softmax_losses

        return softmax_losses(logits, targets, v, gradients=gradients)
    z = logits[:, :v].to(acc_dtype)
    log_sum = z.logsumexp(dim=1, keepdim=True)  # (C, 1)
    losses = log_sum - z.gather(1, targets[:, None])
    if gradients:
        z.sub_(log_sum).exp_()
        z.scatter_add_(1, targets[:, None], torch.full_like(log_sum, -1.0))
        logits[:, :v] = z
        logits[:, v:] = 0
    return losses.squeeze(1)


def triton_runs() -> bool:
    """Whether kernels written in Triton run here: that takes Triton, a C compiler and a GPU that it
    knows."""
    return triton_fault() is None


@functools.cache
def triton_fault() -> str | None:
    """Why kernels written in Triton don't run here, in a line; None if they do."""
    try:
        from minigpt_search.model.loss.softmax_kernel import softmax_losses

        logits = torch.zeros(1, ALIGNMENT, device="cuda")
        target = torch.zeros(1, dtype=torch.int64, device="cuda")
        found = softmax_losses(logits, target, ALIGNMENT, gradients=True).item()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return notes.first_line(error)
    right = math.isclose(found, math.log(ALIGNMENT), rel_tol=1e-3)
    return None if right else f"its kernel gave {found}"
