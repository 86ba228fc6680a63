"""The output head alone, forward and backward: this project's loss beside torch's.

    python tests/benchmarks/training/head.py --threads 1
    python tests/benchmarks/training/head.py --rows 256 --rounds 2

Interleaved; medians. `torch chunked` is `F.linear_cross_entropy` with `LinearCrossEntropyOptions`
(torch 2.13), the weight converted to bf16 each step as in every other bf16 row.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt_search.model.hardware.allocator import keep_freed_memory
from minigpt_search.model.loss.cross_entropy import linear_cross_entropy

VOCABULARY = 50_257
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(dtype: torch.dtype) -> Loss:
    """The loss that training uses."""
    return lambda x, w, y: linear_cross_entropy(x, w, y, dtype=dtype)


def plain(dtype: torch.dtype) -> Loss:
    """All logits at once."""
    return lambda x, w, y: F.cross_entropy((x.to(dtype) @ w.to(dtype).t()).float(), y)


def torch_chunked(rows: int, dtype: torch.dtype) -> Loss | None:
    """Torch's own chunked loss, None where torch is too old for it."""
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        return None
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows, acc_policy="accurate")
    return lambda x, w, y: F.linear_cross_entropy(x.to(dtype), w.to(dtype), y, options=options)


def contenders() -> dict[str, Loss]:
    """By name, those that this torch has."""
    fp32, bf16 = torch.float32, torch.bfloat16
    found = {
        "ours, bf16": ours(bf16),
        "ours, fp32": ours(fp32),
        "torch chunked by 256, bf16": torch_chunked(256, bf16),
        "torch chunked by 512, bf16": torch_chunked(512, bf16),
        "torch chunked by 256, fp32": torch_chunked(256, fp32),
        "all logits, bf16": plain(bf16),
        "all logits, fp32": plain(fp32),
    }
    return {name: loss for name, loss in found.items() if loss is not None}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048, help="tokens of a step")
    parser.add_argument("--embed", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.rows, options.embed, generator=generator).requires_grad_()
    w = (torch.randn(VOCABULARY, options.embed, generator=generator) * 0.02).requires_grad_()
    y = torch.randint(VOCABULARY, (options.rows,), generator=generator)
    seconds: dict[str, list[float]] = {name: [] for name in contenders()}
    losses = {}
    for turn in range(options.rounds + 1):
        for name, loss_of in contenders().items():
            x.grad = w.grad = None
            started = time.perf_counter()
            loss = loss_of(x, w, y)
            loss.backward()
            if turn:  # the first is for warming up
                seconds[name].append(time.perf_counter() - started)
            losses[name] = loss.item()
    best = statistics.median(seconds["ours, bf16"])
    flops = 6 * VOCABULARY * options.embed * options.rows
    print(f"{'':28} {'ms':>6} {'lowest':>6} {'highest':>7} {'ratio':>6} {'GFLOP/s':>7} {'loss':>9}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(
            f"{name:28} {median * 1e3:6.0f} {min(times) * 1e3:6.0f} {max(times) * 1e3:7.0f} "
            f"{median / best:6.2f} {flops / median / 1e9:7.0f} {losses[name]:9.5f}"
        )


if __name__ == "__main__":
    main()
