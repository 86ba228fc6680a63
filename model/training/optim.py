"""The optimizer and its learning rate: AdamW with decay on matrices, warm-up, a schedule.

Sources: Loshchilov & Hutter 2019 (arXiv 1711.05101) for AdamW; Brown et al. 2020 (arXiv
2005.14165), appendix B, for the betas, the clipping at 1.0, the decay of 0.1 and a cosine that ends
at a tenth; Hägele et al. 2024 (arXiv 2405.18392) for a constant rate and a short decay (wsd).
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from minigpt_search.model.config import TrainConfig
from minigpt_search.model.network import mup
from minigpt_search.model.network.gpt import GPT

COSINE_FLOOR = 0.1
"""Share of `lr_peak` that a cosine ends at."""


def lr_at(
    step: int,
    *,
    lr_peak: float,
    warmup_steps: int,
    total_steps: int,
    schedule: str = "linear",
    decay_steps: int = 0,
) -> float:
    """The learning rate of optimizer step `step`, counted from 0.

    It rises to `lr_peak` over the first `warmup_steps` steps. Then `linear` falls so that it would
    be 0 at `total_steps`, the step after the last; `cosine` so that it would be a tenth of the peak
    there; `wsd` stays at the peak and over the last `decay_steps` falls as `linear`.
    """
    if step < warmup_steps:  # from one part of the peak, since a step at rate 0 would be in vain
        return lr_peak * (step + 1) / warmup_steps
    left = total_steps - step  # at least 1, so that the last step has a rate above 0
    if schedule == "linear":
        return lr_peak * left / (total_steps - warmup_steps)
    if schedule == "cosine":
        cosine = math.cos(math.pi * (1 - left / (total_steps - warmup_steps)))
        return lr_peak * (COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + cosine) / 2)
    if left >= decay_steps:
        return lr_peak  # exactly: runs of different length must begin with the same bits
    return lr_peak * left / decay_steps


class _UndecoratedAdamW(torch.optim.AdamW):
    """torch's AdamW, called without the decorators that are for compiled optimizers: they import
    `torch._dynamo`, a second and a half in each process, and nothing compiles the optimizer."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """The step of torch's AdamW; `no_grad` stands in for its decorator."""
        inspect.unwrap(torch.optim.AdamW.step)(self, closure)


def make_optimizer(model: GPT, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over two groups: matrices, embeddings included, decay; norms and biases do not. Under
    muP the blocks' matrices are a third group, with a learning rate and a decay of their own.

    On a GPU the learning rate is a tensor there, since a CUDA graph can't be given a new number at
    each replay.
    """
    device = next(model.parameters()).device
    capturable = device.type == "cuda"
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "lr_factor": 1.0},
        {
            "params": [p for p in model.parameters() if p.dim() < 2],
            "weight_decay": 0.0,
            "lr_factor": 1.0,
        },
    ]
    if model.width_ratio != 1:
        groups += mup.split_off_hidden_matrices(groups[0], model, config.weight_decay)
    if capturable:
        put_lrs_on_device(groups, device)
    return _UndecoratedAdamW(
        groups,
        lr=config.lr_peak,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
        capturable=capturable,
    )


def put_lrs_on_device(groups: list[dict[str, Any]], device: torch.device) -> None:
    """Give each group a learning rate on the device, its own: a shared one would be the last
    group's."""
    for group in groups:
        group["lr"] = torch.zeros((), device=device)  # each step sets it


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group this learning rate times its own factor (muP's); in place where the rate is
    a tensor, whose address a CUDA graph reads."""
    for group in optimizer.param_groups:
        own = lr * group["lr_factor"]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own
