"""Several trials at a time on one GPU: how many fit, and how many pay.

Processes on a GPU take turns (unless CUDA's MPS runs), so that more of them help only as far as
one leaves the GPU idle: it is measured, in processes like those of the search.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from data.errors import UserError, is_count
from model.config import RunConfig
from search.disk import largest_config
from search.experiment import Experiment

SIZES = (1, 2, 4, 8)
"""What `--trials-per-gpu auto` tries."""
LEAST_GAIN = 1.05
"""More processes that gain less than this are not worth their memory."""
CONTEXT_BYTES = 800e6
"""Allowed for each process' CUDA context and libraries, which torch doesn't count."""
USABLE_SHARE = 0.95
SECONDS = 2.0
"""Measured at each size."""


class Probe:
    """One trial's training on random tokens, in a process of its own (`search/sharing_child.py`).

    Use it in a `with`. `memory_bytes` is what its device must hold.
    """

    def __init__(self, config: RunConfig, device: str, threads: int) -> None:
        self.tokens = config.train.batch_size * config.model.seq_len
        spec = {"config": config.to_dict(), "device": device, "threads": threads}
        child = Path(__file__).with_name("sharing_child.py")
        self.process = subprocess.Popen(
            [sys.executable, str(child), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_ready(self) -> None:
        self.memory_bytes = self._answer()["memory_bytes"]

    def start(self, seconds: float) -> None:
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)

    def tokens_per_second(self) -> float:
        """After `start`."""
        answer = self._answer()
        return answer["steps"] * self.tokens / answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError("a trial's process ended early; its message is above")
        return json.loads(line)


def measure(
    config: RunConfig,
    device: str,
    threads: int,
    most: int,
    seconds: float = SECONDS,
    told: Callable[[int, float], None] = lambda size, rate: None,
) -> dict[int, float]:
    """Training tokens a second of all trials together, for 1, 2, 4, ... processes up to `most` or
    as many as the GPU's memory holds. Takes about half a minute; `told` hears each rate."""
    rates: dict[int, float] = {}
    with ExitStack() as stack:
        probes: list[Probe] = []
        for size in SIZES:
            if size > most:
                break
            new = [
                stack.enter_context(Probe(config, device, threads))
                for _ in range(size - len(probes))
            ]
            try:
                for probe in new:
                    probe.wait_ready()
                probes += new
                for probe in probes:
                    probe.start(seconds)
                rates[size] = sum(probe.tokens_per_second() for probe in probes)
            except (ChildProcessError, BrokenPipeError):
                if not rates:
                    raise
                break  # what else is on the GPU left too little memory for so many
            told(size, rates[size])
            most = min(most, how_many_fit(probes[0].memory_bytes, device))
    return rates


def how_many_fit(memory_bytes: float, device: str) -> int:
    """Trials of this size that the whole device holds; without end on a CPU."""
    if torch.device(device).type != "cuda":
        return sys.maxsize
    total = torch.cuda.get_device_properties(device).total_memory
    return max(1, math.floor(USABLE_SHARE * total / (memory_bytes + CONTEXT_BYTES)))


def choose(rates: dict[int, float]) -> tuple[int, str]:
    """The smallest size that is within `LEAST_GAIN` of the best, and why."""
    best = max(rates.values())
    chosen = min(size for size, rate in rates.items() if rate * LEAST_GAIN >= best)
    shown = ", ".join(f"{size}: {rate:,.0f}" for size, rate in rates.items())
    return chosen, f"{chosen} at a time on a GPU; all tokens/s by their number are {shown}"


def choose_trials_per_gpu(
    experiment: Experiment, measured: Callable[..., dict[int, float]] = measure
) -> tuple[int, str]:
    """For `--trials-per-gpu auto`: the number, and why. Measures the widest and longest trial."""
    gpus = max(1, len(experiment.hardware["gpus"]))
    most = max(1, min(experiment.planned_trials // gpus, experiment.hardware["cores"] // gpus))
    config = experiment.base.replace(
        **{
            name: getattr(largest_config(experiment).model, name)
            for name in ("embed_dim", "seq_len", "n_heads")
        }
    )
    return choose(measured(config, experiment.device, threads=1, most=most))


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
