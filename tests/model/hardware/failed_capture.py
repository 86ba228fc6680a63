"""A capture that fails, on purpose, in a process of its own: python failed_capture.py

`test_gpu.py` runs it. The run goes on with the numbers of one whose steps were captured, another
can still be captured, and the process knows that it should train no more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minigpt_search.model import notes
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.model.hardware import cuda_graph, retirement
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.step import Step

SIZES = [8, 8, 8, 8, 3, 8, 8]
CONFIG = RunConfig(
    model=ModelConfig(vocab_size=60, seq_len=8, embed_dim=16, n_layers=1, n_heads=2),
    train=TrainConfig(batch_size=8, epochs=3, lr_peak=1e-2, warmup_steps=3),
)


class Waiting(Step):
    """Reads a number on the host at the end, which no capture allows."""

    def _compute(self, tokens: Tensor, targets: Tensor) -> None:
        super()._compute(tokens, targets)
        self.sums.totals.sum().item()


def train(kind: type[Step], precision: str) -> Step:
    config = CONFIG.replace(precision=precision)
    torch.manual_seed(0)
    model = GPT(config.model).cuda().train()
    model.draw_dropout_from(torch.Generator("cuda").manual_seed(1))
    one_step = kind(model, config.train, "cuda")
    generator = torch.Generator().manual_seed(2)
    for size in SIZES:
        tokens = torch.randint(60, (size, 8), generator=generator)
        one_step(tokens, tokens.flip(0), 1e-3)
    return one_step


def main() -> None:
    for precision in ("fp32", "fp16"):
        notes.begin()
        expected = train(Step, precision)
        assert isinstance(expected.compute, cuda_graph.StepGraph) and expected.compute.usable
        assert notes.kept() == []
        found = train(Waiting, precision)
        assert isinstance(found.compute, cuda_graph.StepGraph) and not found.compute.usable
        [note] = notes.kept()
        assert note.startswith("no CUDA graph"), note
        assert retirement.retires()
        for a, b in zip(found.model.parameters(), expected.model.parameters(), strict=True):
            assert torch.equal(a, b)
    again = train(Step, "bf16")
    assert isinstance(again.compute, cuda_graph.StepGraph) and again.compute.usable
    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
