"""The token embedding on a GPU: rows of the matrix, and a gradient that is the same each time.

torch's own gradient for up to 3,072 tokens refills its shared buffer each 1,024 of them without a
barrier: rarely, and differently each time, it is wrong (pytorch#187687, mended after 2.13); its
`index_add_` adds in the order in which threads happen to come. Here each token's rows are added in
one order, by whoever is at its lowest row, and straight into the head's gradient where the head is
tied to the embedding: no other matrix of V x D is filled and added.

Shapes: B sequences, T tokens, N tokens of a batch, D width, V vocabulary.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt_search.model import notes
from minigpt_search.model.loss import gpu as loss_gpu
from minigpt_search.model.out_of_memory import is_out_of_memory

MOST_TOKENS_OF_KERNEL = 8192
"""Expected, not measured: above it sorting takes less than the kernel, which compares each token
with each."""


def is_needed(tokens: Tensor) -> bool:
    """Whether the gradient is to be the one of here: torch's own on a CPU is the same each time."""
    return tokens.is_cuda


def look_up(tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of `weight` (V, D) for tokens (B, T), (B, T, D), and `weight` as the head is to have
    it: the gradient that it gets there is what that of the rows is added to."""
    rows, handed_on = _LookUp.apply(tokens, weight)
    return rows, handed_on


class _LookUp(torch.autograd.Function):
    """Hands the matrix on, so that its other gradient comes by here, when it is complete."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(tokens)
        ctx.shape = weight.shape
        ctx.set_materialize_grads(False)
        return F.embedding(tokens, weight), weight

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor | None, grad: Tensor | None) -> Any:
        (tokens,) = ctx.saved_tensors
        if grad_rows is None:
            return None, grad
        if grad is None:  # the head has a matrix of its own
            grad = torch.zeros(ctx.shape, dtype=grad_rows.dtype, device=grad_rows.device)
        # In place: nobody else sees it, and it is 26 MB.
        return None, add_rows(grad.contiguous(), tokens.flatten(), grad_rows.flatten(0, 1))


def add_rows(total: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
    """Add `rows` (N, D) to the rows `tokens` (N,) of `total` (V, D), in place, those of one token
    in the same order each time; returns `total`. It waits for no GPU, and nothing that it makes has
    a size that depends on the tokens, so that a CUDA graph can hold it."""
    if _kernel_serves(total, rows):
        from minigpt_search.model.network.scatter_kernel import scatter

        scatter(total, tokens, rows.contiguous())
        return total
    # On a GPU sorted, then each token's rows added in their order by one warp: no atomics.
    # `index_put_` would check the tokens' range first, in some versions waiting for the GPU; the
    # look-up has checked it.
    return torch._index_put_impl_(total, (tokens,), rows, accumulate=True, unsafe=True)


def _kernel_serves(total: Tensor, rows: Tensor) -> bool:
    is_plain = total.dtype == rows.dtype == torch.float32 and len(rows) <= MOST_TOKENS_OF_KERNEL
    return total.is_cuda and is_plain and loss_gpu.triton_runs() and scatter_fault() is None


@functools.cache
def scatter_fault() -> str | None:
    """What is wrong with the Triton kernel where Triton runs, in a line; None if nothing is."""
    lost = "no Triton kernel for the embedding's gradient, torch sorts instead"
    try:
        from minigpt_search.model.network.scatter_kernel import scatter

        total, rows = torch.zeros(3, 4, device="cuda"), torch.ones(5, 4, device="cuda")
        scatter(total, torch.tensor([1, 0, 1, 1, 0], device="cuda"), rows)
        found = total.sum(dim=1).tolist()
    except Exception as error:
        if is_out_of_memory(error):  # it passes, while an answer stays for the process
            raise
        return f"{lost}: {notes.first_line(error)}"
    return None if found == [8.0, 12.0, 0.0] else f"{lost}: it gave {found}"
