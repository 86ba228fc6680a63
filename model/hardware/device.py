"""What the machine offers: device, precision, threads, memory, names and versions."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.machine import usable_cores, usable_memory
from minigpt_search.model import notes
from minigpt_search.model.records import Device

TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""torch's types of `model.config.PRECISIONS`."""
TORCH_TF32, CUBLAS_TF32 = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE"
"""Variables that have torch ask for TF32, and cuBLAS take it unasked; NVIDIA's containers set the
first."""
DEVICES = Path("/dev")


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
        why = f" ({reason})" if (reason := unused_gpus()) else ""
        raise UserError(f"device={device}: torch sees no CUDA device here{why}; use cpu")
    if number:
        there = torch.cuda.device_count()
        if int(number) >= there:
            raise UserError(f"device={device}: there are {there} CUDA devices, counted from 0")
        torch.cuda.set_device(int(number))
    keep_fp32_exact()


def keep_fp32_exact() -> None:
    """Have products of fp32 be of fp32 in this process, whatever its environment says: TF32 rounds
    their factors to 11 bits, and evaluation is to be the same on every machine. Raises `UserError`
    where only the environment can do that."""
    refuse_tf32()
    asked = os.environ.get(TORCH_TF32, "0") not in ("", "0")
    if asked or torch.get_float32_matmul_precision() != "highest":
        torch.set_float32_matmul_precision("highest")
        by = f"{TORCH_TF32} is" if asked else "products in TF32 are"
        notes.note(f"{by} overruled: fp32 is exact here")


def refuse_tf32() -> None:
    """Raise `UserError` if cuBLAS is to round what torch gives it, and torch couldn't know."""
    if os.environ.get(CUBLAS_TF32, "0") not in ("", "0"):
        raise UserError(
            f"{CUBLAS_TF32}={os.environ[CUBLAS_TF32]} has cuBLAS round fp32 to TF32, in evaluation "
            "too: unset it"
        )


def unused_gpus() -> str | None:
    """Why torch can't use the NVIDIA GPUs of this machine, in a line: a driver that is too old, a
    torch that is built for CPUs. None if it can, if there are none, and if they are hidden by
    CUDA_VISIBLE_DEVICES."""
    there = len(list(DEVICES.glob("nvidia[0-9]*")))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    if not there or hidden or torch.cuda.is_available():
        return None
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # torch's two ways to say it
        return f"{counted(there, 'NVIDIA GPU')} here can't be used: {notes.first_line(error)}"
    return f"{counted(there, 'NVIDIA GPU')} here can't be used"


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
    `memory_gb` (10^9 bytes) that it may fill, and the names of the `gpus`; where there are some, as
    `gpu_memory_gb` the memory of the one that has least; where there are some that torch can't use,
    as `unused_gpus` the reason."""
    # Their number is the driver's word, also where it is too old for torch to use them.
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [torch.cuda.get_device_name(i) for i in range(there)]
    memory = [torch.cuda.get_device_properties(i).total_memory for i in range(there)]
    unused = unused_gpus()
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "memory_gb": round(usable_memory() / 1e9, 1),
        "gpus": gpus,
        **({"gpu_memory_gb": round(min(memory) / 1e9, 1)} if memory else {}),
        **({} if unused is None else {"unused_gpus": unused}),
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
