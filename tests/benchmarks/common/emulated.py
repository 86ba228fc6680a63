"""What a device can only imitate: it would run for hours, and say nothing of what it is for."""

from __future__ import annotations

from minigpt_search.model.hardware.device import best_precision


def is_emulated(precision: str, device: str) -> bool:
    """Whether products of this precision (fp32, bf16 or fp16) have no instruction there: bf16 on a
    processor without AVX512-BF16 or AMX (0.3 GFLOP/s in place of 36 in fp32 on an AMD Zen 3,
    2026-11-29) and on GPUs older than Ampere."""
    return precision == "bf16" and best_precision(device) != "bf16"
