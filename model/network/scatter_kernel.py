"""Triton kernel of the embedding's gradient: rows added to those of a matrix, without atomics.

A program has one row of the batch and some of its columns. If no row before it is of the same token
it leads: it adds all rows of that token, block by block. So each row of the matrix is read and
written by one program, and the order of the sum depends on the batch alone.

Shapes: N tokens of a batch, D width, V vocabulary.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64
"""Tokens at a time."""
WIDTH = 128
"""Columns of a program: 64 x 128 numbers are 64 for each of its 128 threads."""


@triton.jit
def scatter_kernel(  # type: ignore[no-untyped-def]
    total,
    tokens,
    rows,
    D,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Does the row and the columns of the program's numbers."""
    own = tl.program_id(0)
    columns = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = columns < D
    token = tl.load(tokens + own)
    block = tl.arange(0, BLOCK)
    earlier = tl.zeros([BLOCK], tl.int32)
    for start in range(0, N, BLOCK):
        at = start + block
        same = tl.load(tokens + at, mask=at < own, other=-1) == token
        earlier += same.to(tl.int32)
    if tl.sum(earlier, axis=0) == 0:
        at_total = total + token * D + columns
        summed = tl.load(at_total, mask=inside, other=0.0)
        for start in range(0, N, BLOCK):
            at = start + block
            same = tl.load(tokens + at, mask=at < N, other=-1) == token
            if tl.sum(same.to(tl.int32), axis=0) > 0:
                which = same[:, None] & inside[None, :]
                offsets = at.to(tl.int64)[:, None] * D + columns[None, :]
                summed += tl.sum(tl.load(rows + offsets, mask=which, other=0.0), axis=0)
        tl.store(at_total, summed, mask=inside)


def scatter(total: Tensor, tokens: Tensor, rows: Tensor) -> None:
    """Add `rows` (N, D) to the rows `tokens` (N,) of `total` (V, D), in place: fp32 and int64, each
    in one piece."""
    n, d = rows.shape
    if n == 0:
        return
    scatter_kernel[(n, triton.cdiv(d, WIDTH))](
        total, tokens.contiguous(), rows, d, N=n, BLOCK=BLOCK, WIDTH=WIDTH
    )
