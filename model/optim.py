"""The optimizer and its learning rate: AdamW with decay on matrices, warm-up, linear decay.

Sources: Loshchilov & Hutter 2019 (arXiv 1711.05101) for AdamW; Brown et al. 2020 (arXiv
2005.14165), appendix B, for the betas, the clipping at 1.0 and the decay of 0.1.
"""

from __future__ import annotations

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


def make_optimizer(
    model: nn.Module, config: TrainConfig, lr: Tensor | None = None
) -> torch.optim.AdamW:
    """AdamW over two groups: matrices, embeddings included, decay; norms and biases do not.

    `lr`, a scalar on a GPU, is where its steps read the learning rate, so that a CUDA graph can
    hold them; without it each group has a number (`set_lr`).
    """
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() >= 2]},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.lr_peak if lr is None else lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
        capturable=lr is not None,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
