"""Several trials at a time on one GPU: how many fit, and how many pay.

Processes on a GPU take turns (unless CUDA's MPS runs), so that more of them help only as far as
one leaves the GPU idle: it is measured, in processes like those of the search.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Unpack

from minigpt_search.model.config import RunConfig
from minigpt_search.search.machines.gpu_share import how_many_fit
from minigpt_search.search.planning.measure import (
    SIZES,
    ProbeProcess,
    Setting,
    fewest_nearly_as_fast,
    have_room,
    measure_together,
    prepare,
    setting_of,
)
from minigpt_search.search.planning.memory import possible_configs, takes_most_memory
from minigpt_search.search.records.experiment import Experiment

SECONDS = 2.0
"""Measured at each size."""


def measure(
    config: RunConfig,
    device: str,
    threads: int,
    most: int,
    seconds: float = SECONDS,
    on_rate: Callable[[int, float], None] = lambda size, rate: None,
    **setting: Unpack[Setting],
) -> dict[int, float]:
    """Training tokens a second of all trials together, for 1, 2, 4, ... processes up to `most` or
    as many as the GPU's memory holds. Takes about half a minute; `on_rate` hears each."""
    rates: dict[int, float] = {}
    with ExitStack() as stack:
        probes: list[ProbeProcess] = []
        for size in SIZES:
            if size > most:
                break
            new = [
                stack.enter_context(ProbeProcess(device, threads))
                for _ in range(size - len(probes))
            ]
            probes += new
            try:
                # Each anew, since with more of them each has less of the GPU's memory.
                alike: Setting = {**setting, "gpus": 1 / size}
                held = prepare(probes, config, **alike)
                answers = measure_together(probes, "train", seconds)
            except ChildProcessError:
                if not rates:
                    raise
                break  # what else is on the GPU left too little memory for so many
            if rates and not have_room(answers):
                break
            rates[size] = sum(answer["tokens_per_second"] for answer in answers)
            on_rate(size, rates[size])
            most = min(most, how_many_fit(held, device))
    return rates


def choose(rates: dict[int, float]) -> tuple[int, str]:
    """The fewest at a time that are nearly as fast as the best, and why."""
    chosen = fewest_nearly_as_fast(rates)
    shown = ", ".join(f"{size}: {rate:,.0f}" for size, rate in rates.items())
    return chosen, f"{chosen} at a time on a GPU; all tokens/s by their number are {shown}"


def choose_trials_per_gpu(
    experiment: Experiment, measured: Callable[..., dict[int, float]] = measure
) -> tuple[int, str]:
    """The number for `--trials-per-gpu auto`, and why. Measures the trial that takes most
    memory: so many of it have to fit."""
    gpus = max(1, len(experiment.machine.hardware["gpus"]))
    most = max(
        1, min(experiment.planned_trials // gpus, experiment.machine.hardware["cores"] // gpus)
    )
    config = takes_most_memory(possible_configs(experiment))
    setting = setting_of(experiment, config)
    return choose(measured(config, experiment.machine.device, threads=1, most=most, **setting))
