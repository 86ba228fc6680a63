"""What the machine offers: device, precision, threads, memory, names and versions."""

from __future__ import annotations

import platform
import resource
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.machine import usable_cores, usable_memory
from minigpt_search.model.records import Device

TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""torch's types of `model.config.PRECISIONS`."""


def best_device() -> str:
    """The name of the device to train on: cuda if torch can use one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_precision(device: str) -> str:
    """The fastest precision of matrix products on this device: bf16 where it multiplies it in
    hardware, fp16 on older CUDA devices (a T4), else fp32."""
    if device == "cuda":
        # Below 8.0 (Ampere) torch only emulates bf16.
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    if _cpu_has("_is_avx512_bf16_supported") or _cpu_has("_is_amx_tile_supported"):
        return "bf16"
    return "fp32"


def _cpu_has(probe: str) -> bool:
    """What torch.cpu's function of this name says; False where this torch has none."""
    return bool(getattr(torch.cpu, probe, lambda: False)())


def is_cuda(device: str) -> bool:
    """Whether `device` (cpu, cuda, cuda:N) is a GPU."""
    return torch.device(device).type == "cuda"


def use_device(device: str) -> None:
    """Check that `device` (cpu, cuda, cuda:N) is there; a numbered GPU becomes torch's current one.

    Raises `UserError` if it is not, or if the name is none of these.
    """
    kind, _, number = device.partition(":")
    if device == "cpu":
        return
    if kind != "cuda" or (":" in device and not number.isdecimal()):
        raise UserError(f"device={device}: give cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UserError(f"device={device}: torch sees no CUDA device here; use cpu")
    if number:
        there = torch.cuda.device_count()
        if int(number) >= there:
            raise UserError(f"device={device}: there are {there} CUDA devices, counted from 0")
        torch.cuda.set_device(int(number))


def describe_device(device: str) -> Device:
    """The device as a trial's record names it."""
    name = torch.cuda.get_device_name(device) if is_cuda(device) else processor_name()
    kind = torch.device(device).type
    return Device(kind=kind, name=name, threads=torch.get_num_threads())


def processor_name() -> str:
    """The processor's own name, with its instruction set as torch sees it."""
    cpuinfo = Path("/proc/cpuinfo")
    name = platform.processor() or platform.machine()
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def hardware() -> dict[str, Any]:
    """The machine as an experiment keeps it: `processor`, `cores` that this process may use,
    `memory_gb` (10^9 bytes) that it may fill, and the names of the `gpus`."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "memory_gb": round(usable_memory() / 1e9, 1),
        "gpus": gpus,
    }


def versions() -> dict[str, str]:
    """The versions of Python and of the installed libraries that a number depends on; training
    alone needs no Ray."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("ray", "optuna", "tiktoken"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def peak_memory_mb(device: str) -> float:
    """The process' highest memory so far, in units of 10^6 bytes: allocated on a GPU, else its
    resident set."""
    if is_cuda(device):
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
