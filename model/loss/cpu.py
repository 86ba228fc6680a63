"""The head's losses and gradients on a CPU: tiles of logits that stay in the caches.

For a chunk of rows, each tile of the vocabulary goes through three products. Everything around
them is kept small, since the products run near the machine's limit:

- logits come out transposed, vocabulary by rows, as the product that makes the weight's gradient
  wants them (from the other orientation it took 1.2 times as long in bf16);
- the softmax is never normalised: exp(logits) goes into the products as it is, and the division
  by its sum is left to a (C, D) matrix at either end, which saves two passes over the logits;
- no maximum is subtracted, as long as the sums show that none was needed.

Shapes: N rows (tokens), C rows of a chunk, D width, V vocabulary, U vocabulary of a tile.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

CHUNK = 512
"""Rows at a time."""
TILE_BYTES = 2 << 20
"""Size of a tile's logits for 512 rows: 2,048 of the vocabulary in bf16, 1,024 in fp32. With two
threads it takes 0.89 of the time of half as many rows; with one, as long (docs/performance.md)."""


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
    w = weight.to(dtype)
    tiles = w.split(TILE_BYTES // (CHUNK * dtype.itemsize))  # (U, D) each
    # The weight's gradient needs the exponentials of all tiles once their sum is known; the loss
    # alone needs one tile at a time.
    held = len(w) if grad_w is not None else len(tiles[0])
    workspace = _workspace(held * min(CHUNK, len(x)), dtype)
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        xc, yc = x[rows].to(dtype), targets[rows]  # (C, D), (C,)
        x_acc, w_target = xc.to(acc_dtype), w[yc].to(acc_dtype)  # (C, D) each
        buffers = _tile_buffers(workspace, tiles, len(xc))
        weighted = torch.zeros(w.shape[1], len(xc), dtype=acc_dtype) if grad_w is not None else None
        sums, log_sum = _exponentials(xc, tiles, buffers, acc_dtype, weighted)
        losses = log_sum - (x_acc * w_target).sum(dim=1)  # (C,)
        total += losses.sum(dtype=torch.float64)
        if row_losses is not None:
            row_losses[rows] = losses
        if grad_x is not None and grad_w is not None and weighted is not None:
            # The gradient of the logits is softmax minus one-hot: each part goes by itself, so that
            # the softmax need not be normalised in the large matrix.
            grad_x[rows] = (weighted / sums).t() - w_target
            _add_products(grad_w, buffers, (x_acc / sums[:, None]).to(dtype))
            grad_w.index_add_(0, yc, x_acc, alpha=-1)
    return total


@functools.lru_cache(maxsize=1)
def _workspace(n: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised memory for `n` logits, the same at each step: fresh pages would cost more than
    the exponentials."""
    return torch.empty(n, dtype=dtype)


def _tile_buffers(workspace: Tensor, tiles: tuple[Tensor, ...], n: int) -> list[Tensor]:
    """Views of `workspace` for each tile's logits, (U, n): side by side if they fit, else one for
    all."""
    whole = n * sum(len(tile) for tile in tiles)
    if len(workspace) < whole:
        return [workspace[: len(tile) * n].view(-1, n) for tile in tiles]
    return [buffer.view(-1, n) for buffer in workspace[:whole].split(len(tiles[0]) * n)]


def _exponentials(
    xc: Tensor,
    tiles: tuple[Tensor, ...],
    buffers: list[Tensor],
    acc_dtype: torch.dtype,
    weighted: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Write exp(logits - m) of all tiles into `buffers`; returns their sums over the vocabulary and
    the logits' log-sum-exp, (C,) each.

    m is 0, or the row's maximum if the sums are so large or small that something may have been
    lost. The sum of exponential x weight over the vocabulary goes into `weighted` (D, C).
    """
    sums = _exponentiate(xc, tiles, buffers, acc_dtype, weighted, None)
    safe = torch.finfo(xc.dtype).tiny ** -0.75  # 3e28 for bf16, fp32
    if bool(((sums > 1 / safe) & (sums < safe)).all()):
        return sums, sums.log()
    row_max = torch.full((len(xc),), -torch.inf, dtype=xc.dtype)
    for tile, buffer in zip(tiles, buffers, strict=True):
        row_max = torch.maximum(row_max, torch.mm(tile, xc.t(), out=buffer).amax(dim=0))
    sums = _exponentiate(xc, tiles, buffers, acc_dtype, weighted, row_max)
    return sums, sums.log() + row_max


def _exponentiate(
    xc: Tensor,
    tiles: tuple[Tensor, ...],
    buffers: list[Tensor],
    acc_dtype: torch.dtype,
    weighted: Tensor | None,
    row_max: Tensor | None,
) -> Tensor:
    """Do the work of `_exponentials` with m = `row_max` (C,), or 0 for None; returns the sums,
    (C,)."""
    sums = torch.zeros(len(xc), dtype=acc_dtype)
    if weighted is not None:
        weighted.zero_()
    for tile, buffer in zip(tiles, buffers, strict=True):
        torch.mm(tile, xc.t(), out=buffer)  # (U, C)
        if row_max is not None:
            buffer -= row_max
        sums += buffer.exp_().sum(dim=0)
        if weighted is not None:
            weighted += torch.mm(tile.t(), buffer)
    return sums


def _add_products(grad_w: Tensor, buffers: list[Tensor], scaled: Tensor) -> None:
    """Add buffer (U, C) x scaled (C, D) of every tile to the rows of `grad_w` (V, D)."""
    for grad, buffer in zip(grad_w.split(len(buffers[0])), buffers, strict=True):
        if grad.dtype == buffer.dtype:
            grad.addmm_(buffer, scaled)
        else:
            grad += torch.mm(buffer, scaled)
