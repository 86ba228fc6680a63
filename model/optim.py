"""The optimizer and its learning rate: AdamW with decay on matrices, warm-up, linear decay.

Sources: Loshchilov & Hutter 2019 (arXiv 1711.05101) for AdamW; Brown et al. 2020 (arXiv
2005.14165), appendix B, for the betas, the clipping at 1.0 and the decay of 0.1.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from model.config import TrainConfig


def lr_at(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Learning rate of optimizer step `step`, counted from 0.

    It rises to `peak` over the first `warmup_steps` steps, then falls linearly so that it would
    be 0 at `total_steps`, the step after the last.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (total_steps - step) / (total_steps - warmup_steps)


class _AdamW(torch.optim.AdamW):
    """torch's AdamW, called without the decorators that are for compiled optimizers: they import
    `torch._dynamo`, a second and a half in each process, and nothing compiles the optimizer."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        inspect.unwrap(torch.optim.AdamW.step)(self, closure)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over two groups: matrices, embeddings included, decay; norms and biases do not.

    On a GPU the learning rate is a number there, since a CUDA graph can't be given a new one at
    each replay; but not with fp16, whose gradient scaler has no graph.
    """
    device = next(model.parameters()).device
    capturable = device.type == "cuda" and config.precision != "fp16"
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() >= 2]},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    return _AdamW(
        groups,
        lr=torch.tensor(config.lr_peak, device=device) if capturable else config.lr_peak,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
        capturable=capturable,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group this learning rate, in place where it lies on a GPU."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
