"""One optimizer step of several models of one shape: together where launches cost, else as alone.

Forward and backward of the blocks are one computation (`model/network/packed_gpt.py`). Clipping,
AdamW and the sums are each member's own: three fused kernels each, exactly those of a single step,
so that a member's optimizer, rates and checkpoints are those of a run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minigpt_search.model.hardware.cuda_graph import StepGraph
from minigpt_search.model.hardware.device import TORCH_TYPES, is_cuda
from minigpt_search.model.network.dropout import generators
from minigpt_search.model.network.packed_gpt import PackedGPT
from minigpt_search.model.training.optim import set_lr
from minigpt_search.model.training.step import Step


class PackedStep:
    """Trains the models of `steps` by one batch each a call.

    They share one model shape, precision and device; optimizers, rates, weight decay, random
    streams and sums are their own. Each can be read, saved and used alone between calls.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        self.model = PackedGPT([step.model for step in steps])
        first = self.steps[0]
        self.compute: Callable[[Tensor, Tensor], None] = self._compute
        """The step on the device, tokens and targets (K, B, T): it never waits for the device."""
        if is_cuda(first.device):
            streams = {stream for step in steps for stream in generators(step.model)}
            self.compute = StepGraph(self._compute, first.config.batch_size, streams)

    def __call__(
        self, tokens: Sequence[Tensor], targets: Sequence[Tensor], lrs: Sequence[float]
    ) -> None:
        """Do a step of each member on its tokens and targets, (B, T) int64 each, at its learning
        rate."""
        device = self.steps[0].device
        x = torch.stack(tuple(tokens)).to(device, non_blocking=True)
        y = torch.stack(tuple(targets)).to(device, non_blocking=True)
        for step, lr in zip(self.steps, lrs, strict=True):
            set_lr(step.optimizer, lr)
        self.compute(x, y)

    def _compute(self, x: Tensor, y: Tensor) -> None:
        """The step on tokens and targets (K, B, T), all in place."""
        losses = self.model.losses(x, y, TORCH_TYPES[self.steps[0].config.precision])
        self.model.clear_gradients()
        torch.autograd.backward([s.scaled(own) for s, own in zip(self.steps, losses, strict=True)])
        self.model.share_gradients()
        for step, loss in zip(self.steps, losses, strict=True):
            step.update(loss.detach(), x.shape[1])
