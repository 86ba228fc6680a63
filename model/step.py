"""One optimizer step: forward, backward, clipping, AdamW, and the sums that tell how it went."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import TrainConfig
from model.device import TORCH_TYPES
from model.gpt import GPT
from model.optim import make_optimizer, set_lr


@dataclass(frozen=True, kw_only=True)
class StepSums:
    """What the steps since the last reset add up to."""

    loss: float
    """Of loss in nats x sequences."""
    sequences: float
    grad_norm: float
    """Of the finite gradient norms before clipping."""
    finite_steps: int
    """Steps before the first whose loss or gradient is infinite or not a number."""


class Step:
    """Trains a model by one batch a call.

    Sums stay on the device: reading them once a second costs nothing, at every step it would
    make a GPU wait.
    """

    def __init__(self, model: GPT, config: TrainConfig, device: str) -> None:
        self.model, self.config, self.device = model, config, device
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(device, enabled=config.precision == "fp16")
        self.sums = torch.zeros(5, dtype=torch.float64, device=device)
        """loss x sequences, sequences, gradient norms, finite steps, steps."""

    def __call__(self, tokens: Tensor, targets: Tensor, lr: float) -> None:
        """tokens and targets (B, T) int64 on the CPU; `lr` is this step's learning rate."""
        x = tokens.to(self.device, non_blocking=True)
        y = targets.to(self.device, non_blocking=True)
        set_lr(self.optimizer, lr)
        loss = self.model.loss(x, y, TORCH_TYPES[self.config.precision])
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        parameters = self.model.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._count(loss.detach(), norm, len(tokens))

    def _count(self, loss: Tensor, norm: Tensor, n: int) -> None:
        # fp16 meets infinite gradients by design: the scaler skips such a step.
        finite = torch.isfinite(loss if self.scaler.is_enabled() else loss + norm)
        finite &= self.sums[3] == self.sums[4]
        norm = torch.where(torch.isfinite(norm), norm, 0.0)
        one = torch.ones_like(norm)
        self.sums += torch.stack([loss * n, one * n, norm, finite, one])

    def read_sums(self) -> StepSums:
        """Waits for the device."""
        loss, sequences, grad_norm, finite_steps, _ = self.sums.tolist()
        return StepSums(
            loss=loss, sequences=sequences, grad_norm=grad_norm, finite_steps=int(finite_steps)
        )
