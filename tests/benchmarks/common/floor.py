"""The floor under a training step: how long its matrix products take alone at the best rate that
this machine was seen to reach, and on a GPU the optimizer's bytes at its copy bandwidth.

No step can be faster than this without doing less arithmetic; how near one comes is its share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from emulated import is_emulated

from minigpt_search.model.config import ModelConfig
from minigpt_search.model.hardware.device import TORCH_TYPES
from minigpt_search.model.model_size import flops_per_token, parameter_count

UPDATE_BYTES_PER_PARAMETER = 28
"""AdamW in fp32 reads weight, gradient and two moments, and writes weight and moments."""
COPY_BYTES = 1 << 30
SECONDS_PER_SHAPE = 0.05
"""Least time spent on one shape and type in a turn."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """One kind of matrix product: (rows, inner) x (inner, columns)."""

    rows: int
    inner: int
    columns: int
    precision: str

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns

    def __str__(self) -> str:
        return f"{self.precision} ({self.rows}, {self.inner}) x ({self.inner}, {self.columns})"


def products(model: ModelConfig, tokens: int, device: str) -> list[Product]:
    """The step's own shapes, whole and in pieces that stay in cache, and big square ones."""
    d, v = model.embed_dim, model.vocab_size
    chunk, tile = min(256, tokens), min(2048, v)
    shapes = {
        (tokens, d, 4 * d),  # a block's widening
        (tokens, d, v),  # the head's logits at once
        (chunk, d, v),  # the logits of a chunk of rows
        (chunk, v, d),  # and of their gradients: to the hidden states,
        (v, chunk, d),  # to the embedding
        (chunk, d, tile),  # the same three of one tile
        (chunk, tile, d),
        (tile, chunk, d),
    }
    if v > 10_000:
        shapes |= {(n, n, n) for n in ((4096, 8192) if device == "cuda" else (1024, 2048))}
    types = ["fp32", "bf16", "fp16"] if device == "cuda" else ["fp32", "bf16"]
    return [
        Product(rows=rows, inner=inner, columns=columns, precision=precision)
        for precision in types
        if not is_emulated(precision, device)
        for rows, inner, columns in sorted(shapes)
    ]


class Rates:
    """What a child of `throughput.py` measures in its turns."""

    def __init__(self, model: ModelConfig, tokens: int, device: str) -> None:
        self.products, self.device = products(model, tokens, device), device

    def prepare(self) -> dict[str, Any]:
        """Nothing: each shape has a call to warm up."""
        return {}

    def turn(self) -> dict[str, Any]:
        """The best rates of this turn: `flops_per_second` by product, and on a GPU
        `copy_bytes_per_second` (bytes read and written)."""
        rates = {str(product): product.flops / self._seconds(product) for product in self.products}
        if self.device != "cuda":
            return {"flops_per_second": rates}
        source = torch.empty(COPY_BYTES, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        seconds = self._best(lambda: target.copy_(source))
        return {"flops_per_second": rates, "copy_bytes_per_second": 2 * COPY_BYTES / seconds}

    def _seconds(self, product: Product) -> float:
        dtype = TORCH_TYPES[product.precision]
        left = torch.randn(product.rows, product.inner, device=self.device).to(dtype)
        right = torch.randn(product.inner, product.columns, device=self.device).to(dtype)
        result = torch.empty(product.rows, product.columns, dtype=dtype, device=self.device)
        return self._best(lambda: torch.mm(left, right, out=result))

    def _best(self, call: Callable[[], object]) -> float:
        """Seconds of the fastest of several calls."""
        call()
        self._wait()
        best, started = float("inf"), time.perf_counter()
        while time.perf_counter() - started < SECONDS_PER_SHAPE:
            before = time.perf_counter()
            call()
            self._wait()
            best = min(best, time.perf_counter() - before)
        return best

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def floor_tokens_per_second(model: ModelConfig, tokens: int, rates: dict[str, Any]) -> float:
    """Tokens a second of a step of `tokens` that did nothing but what the floor counts.

    The products of blocks and head, forward and backward, at the best rate of any shape and type;
    where a copy bandwidth was measured (a GPU), plus AdamW's reads and writes: a sum, since the
    update waits for the norm of all gradients and so can't overlap with the products.
    """
    seconds = tokens * flops_per_token(model) / max(rates["flops_per_second"].values())
    if "copy_bytes_per_second" in rates:
        moved = UPDATE_BYTES_PER_PARAMETER * parameter_count(model)
        seconds += moved / rates["copy_bytes_per_second"]
    return tokens / seconds


def best_of(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The best rate of each kind over all turns."""
    names = turns[0]["flops_per_second"]
    best: dict[str, Any] = {
        "flops_per_second": {
            name: max(turn["flops_per_second"][name] for turn in turns) for name in names
        }
    }
    if "copy_bytes_per_second" in turns[0]:
        best["copy_bytes_per_second"] = max(turn["copy_bytes_per_second"] for turn in turns)
    return best
