"""Several trials on one GPU: how many fit, and the share of its memory that each may take,
and what each gives back."""

from __future__ import annotations

import gc
import math
import sys

import torch

from minigpt_search.data.common.errors import UserError, is_count

CONTEXT_BYTES = 800e6
"""Allowed for each process' CUDA context and libraries, which torch doesn't count."""
USABLE_SHARE = 0.95


def how_many_fit(memory_bytes: float, device: str) -> int:
    """Trials of this size that the whole device holds; without end on a CPU."""
    if torch.device(device).type != "cuda":
        return sys.maxsize
    total = torch.cuda.get_device_properties(device).total_memory
    return max(1, math.floor(USABLE_SHARE * total / (memory_bytes + CONTEXT_BYTES)))


def gpus_of_trial(trials_per_gpu: str | None, gpus_per_trial: float | None, device: str) -> float:
    """GPUs of a trial from the two flags; `auto` counts as one trial until it is measured.

    Raises `UserError` if they contradict each other or there is no GPU.
    """
    if gpus_per_trial is not None and device == "cpu":
        raise UserError(f"--gpus-per-trial {gpus_per_trial:g}: these trials train on the CPU")
    if trials_per_gpu is None:
        return gpus_per_trial or 1.0
    flag = f"--trials-per-gpu {trials_per_gpu}"
    if gpus_per_trial is not None:
        raise UserError(f"{flag} and --gpus-per-trial {gpus_per_trial:g}: give one of them")
    if device == "cpu":
        raise UserError(f"{flag}: these trials train on the CPU; use --max-concurrent")
    if trials_per_gpu != "auto" and not is_count(trials_per_gpu):
        raise UserError(f"{flag}: give a number of 1 or more, or auto")
    return 1.0 if trials_per_gpu == "auto" else 1 / int(trials_per_gpu)


def memory_fraction(gpus_per_trial: float, total_bytes: float) -> float:
    """The share of a GPU's memory that torch may take in a process with this part of the GPU."""
    fraction = USABLE_SHARE * min(1.0, gpus_per_trial) - CONTEXT_BYTES / total_bytes
    return max(0.01, fraction)


def hold_to_share(device: str, gpus_per_trial: float) -> None:
    """Let this process have no more of the GPU's memory than its part: Ray only keeps the books,
    and a trial that grows would end its neighbours. Beyond it, torch is out of memory."""
    if device == "cuda" and gpus_per_trial < 1:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(gpus_per_trial, total))


def free_memory(device: str) -> None:
    """Give back what a trial that is over has held. Models and graphs are in cycles: a step knows
    its graph, which calls the step."""
    gc.collect()
    if torch.device(device).type == "cuda":
        # One for each stream that multiplied, 32 MiB on a Hopper, and each trial has streams of
        # its own (pytorch#99196).
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
