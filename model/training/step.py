"""One optimizer step: forward, backward, clipping, AdamW, and the sums that tell how it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minigpt_search.model.config import TrainConfig
from minigpt_search.model.hardware.cuda_graph import StepGraph
from minigpt_search.model.hardware.device import TORCH_TYPES, is_cuda
from minigpt_search.model.loss.gpu import keep_sums_exact
from minigpt_search.model.network.dropout import generators
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.optim import make_optimizer, set_lr
from minigpt_search.model.training.step_sums import StepSums


class Step:
    """Trains a model by one batch a call.

    On a GPU most calls are replays of a CUDA graph, so that the model must have its dropout's
    generator by now. With fp16 the graph holds the gradient scaler too: it decides on the device
    whether a step is taken, and has made its tensors before, in the first step of the warm-up.
    """

    def __init__(self, model: GPT, config: TrainConfig, device: str) -> None:
        self.model, self.config, self.device = model, config, device
        scaled = config.precision == "fp16"
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(torch.device(device).type, enabled=scaled)
        self.sums = StepSums(device, model.config.vocab_size, scaled=scaled)
        self.compute: Callable[[Tensor, Tensor], None] = self._compute
        """The part of a step that runs on the device alone, never waiting for it: all but the
        batch's way there and the learning rate."""
        if is_cuda(device):
            keep_sums_exact()
            self.compute = StepGraph(self._compute, config.batch_size, generators(model))

    def __call__(self, tokens: Tensor, targets: Tensor, lr: float) -> None:
        """Do a step on tokens and targets (B, T) int64 of any device, at learning rate `lr`."""
        x = tokens.to(self.device, non_blocking=True)
        y = targets.to(self.device, non_blocking=True)
        set_lr(self.optimizer, lr)
        self.compute(x, y)

    def _compute(self, tokens: Tensor, targets: Tensor) -> None:
        """The step on tokens and targets (B, T) on the device, all in place."""
        loss = self.model.loss(tokens, targets, TORCH_TYPES[self.config.precision])
        self.optimizer.zero_grad(set_to_none=True)
        self.scaled(loss).backward()
        self.update(loss.detach(), len(tokens))

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times fp16's factor, for a backward pass; else as it is."""
        if self.scaler.is_enabled():
            # A step whose capture failed half-way would count as one under way.
            self.scaler._per_optimizer_states.clear()
        return self.scaler.scale(loss)

    def update(self, loss: Tensor, n: int) -> None:
        """Do what follows a backward pass over `n` sequences of this mean loss, a scalar: clip the
        gradients, take the optimizer's step, and count it."""
        self.scaler.unscale_(self.optimizer)  # the norm to clip at is that of the true gradients
        parameters = self.model.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.sums.add(loss, norm, n)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take over the optimizer's state from a checkpoint of any device."""
        # The learning rate (a number or a tensor) and `capturable` are this device's, not those of
        # the device that wrote the checkpoint.
        groups = self.optimizer.param_groups
        keys = ("lr", "lr_factor", "capturable")
        own = [{key: group[key] for key in keys} for group in groups]
        self.optimizer.load_state_dict(state)
        for group, fields in zip(self.optimizer.param_groups, own, strict=True):
            group.update(fields)  # each step sets the rate anew
