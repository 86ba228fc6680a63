"""Which runs have their blocks compiled: one rule for training, and for whoever predicts it."""

from __future__ import annotations

from minigpt_search.model.hardware.device import is_cuda
from minigpt_search.model.network import compiled


def is_compiled(total_steps: int, device: str, *, packed: bool = False) -> bool:
    """Whether a run of so many optimizer steps has its blocks compiled, provided that Triton runs
    there: a long one on a GPU that is no part of a pack, which has blocks of its own."""
    return is_cuda(device) and not packed and total_steps >= compiled.COMPILE_FROM_STEPS
