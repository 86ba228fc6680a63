"""Maximal update parametrization (muP): what changes with the width, so that the best learning
rate does not.

Source: Yang et al. 2022, "Tensor Programs V" (arXiv 2203.03466), table 8 and appendix B, as the
authors' package `mup` 1.0 has it for Adam. `width_ratio` r is width over base width:

                              initial std    Adam's rate    weight decay    multiplier
    embeddings                std            lr             wd              1
    matrices of the blocks    std / sqrt(r)  lr / r         wd * r          1
    norms, biases             1, 0           lr             0               1
    head, tied or not         std            lr             wd              1 / r
    attention's logits                                                      1 / sqrt(d_head r)

At r = 1 it is the standard parametrization. The decay is multiplied so that rate times decay, which
is what AdamW takes off a weight at each step, does not depend on the width.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether both dimensions of this parameter grow with the width, as those of the blocks'
    matrices do."""
    return name.startswith("blocks.") and parameter.dim() >= 2


def init_std(std: float, name: str, parameter: Tensor, width_ratio: float) -> float:
    """A matrix' standard deviation at the start, where the standard parametrization has `std`."""
    return std / math.sqrt(width_ratio) if is_hidden_matrix(name, parameter) else std


def split_off_hidden_matrices(
    decayed: dict[str, Any], model: nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """Move the blocks' matrices out of the optimizer's group `decayed`, which is changed, into one
    of their own, with muP's learning rate and weight decay. Returns the new group in a list."""
    named = [(name, p) for name, p in model.named_parameters() if p.dim() >= 2]
    ratio = float(model.width_ratio)  # type: ignore[arg-type]
    decayed["params"] = [p for name, p in named if not is_hidden_matrix(name, p)]
    hidden = [p for name, p in named if is_hidden_matrix(name, p)]
    return [{"params": hidden, "lr_factor": 1 / ratio, "weight_decay": weight_decay * ratio}]
