"""Several trials at a time on one GPU: how many fit, and how many pay.

Processes on a GPU take turns (unless CUDA's MPS runs), so that more of them help only as far as
one leaves the GPU idle: it is measured, in processes like those of the search.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from minigpt_search.model.config import RunConfig
from minigpt_search.search.machines.gpu_share import how_many_fit
from minigpt_search.search.planning.disk import largest_config
from minigpt_search.search.records.experiment import Experiment

SIZES = (1, 2, 4, 8)
"""What `--trials-per-gpu auto` tries."""
LEAST_GAIN = 1.05
"""More processes that gain less than this are not worth their memory."""
SECONDS = 2.0
"""Measured at each size."""


class Probe:
    """One trial's training on random tokens, in a process of its own
    (`search/planning/sharing_probe.py`).

    Use it in a `with`. `memory_bytes` is what its device must hold.
    """

    def __init__(self, config: RunConfig, device: str, threads: int) -> None:
        self.tokens = config.train.batch_size * config.model.seq_len
        spec = {"config": config.to_dict(), "device": device, "threads": threads}
        child = Path(__file__).with_name("sharing_probe.py")
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
    gpus = max(1, len(experiment.machine.hardware["gpus"]))
    most = max(
        1, min(experiment.planned_trials // gpus, experiment.machine.hardware["cores"] // gpus)
    )
    config = experiment.space.base.replace(
        **{
            name: getattr(largest_config(experiment).model, name)
            for name in ("embed_dim", "seq_len", "n_heads")
        }
    )
    return choose(measured(config, experiment.machine.device, threads=1, most=most))
