"""How far bf16 training drifts from fp32: the same run with four heads, step by step.

    python tests/benchmarks/training/precision.py --steps 200
    python tests/benchmarks/training/precision.py --steps 5 --batch-size 4

`plain fp32` materialises all logits and leaves the gradients to autograd: the reference.
`plain bf16` does the same under bf16 autocast, as people usually train: what rounding alone costs.
All see the same batches, the same initial weights and the same dropout.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.loop import Run
from minigpt_search.search.space.presets import FULL


class PlainGPT(GPT):
    """The same model with the usual loss."""

    def loss(self, tokens: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        with torch.autocast(tokens.device.type, dtype=dtype, enabled=dtype.itemsize < 4):
            logits = self.logits(tokens)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def losses_of(run: Run, steps: int) -> list[float]:
    """The loss of each step, in nats a token."""
    batches = torch.arange(len(run.train_set)).split(run.config.train.batch_size)
    losses: list[float] = []
    for indices in batches[:steps]:
        before = run.one_step.sums.read().loss
        run.step(indices)
        losses.append((run.one_step.sums.read().loss - before) / len(indices))
    return losses


def main() -> None:
    """Print the differences of each variant from the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=FULL.train.batch_size)
    parser.add_argument("--corpus", default="builtin")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = open_corpus(Path(artifacts_root(None)) / "corpus" / options.corpus)
    results = {}
    for name in ("plain fp32", "tiled fp32", "tiled bf16", "plain bf16"):
        kind, _, precision = name.partition(" ")
        config = FULL.replace(precision=precision, batch_size=options.batch_size, warmup_steps=50)
        run = Run(config, corpus, "cpu", None, float("inf"), Hooks())
        if kind == "plain":
            run.model.__class__ = PlainGPT
        results[name] = torch.tensor(losses_of(run, options.steps), dtype=torch.float64)
    reference = results.pop("plain fp32")
    print(f"plain fp32: loss {reference[0]:.4f} at step 1, {reference[-1]:.4f} at the last")
    print(f"{'against plain fp32':20} {'median |d|':>10} {'largest |d|':>11} {'mean d':>10}")
    for name, losses in results.items():
        d = losses - reference
        print(f"{name:20} {d.abs().median():10.1e} {d.abs().max():11.1e} {d.mean():10.1e}")


if __name__ == "__main__":
    main()
