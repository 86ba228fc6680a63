"""Trials that train together in one process as one batched model, and whether that pays here.

Small batches on a GPU leave it waiting for the next kernel's launch; a pack launches once for all
of its members (`model/network/packed_gpt.py`). Where the arithmetic itself is the limit, as on a
CPU, it gains nothing.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence

import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.planning.probe import measure_tokens_per_second
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.trial import grid_trials

SIZES = (1, 2, 4, 8)
"""What `--pack auto` tries."""
LEAST_GAIN = 1.05
"""Below this the process that is simpler is preferred."""


def choose_pack(wanted: str | None, experiment: Experiment) -> tuple[int, str | None]:
    """The size of packs, and why if there was a choice. `wanted` is `--pack`.

    Raises `UserError` if no two trials of the grid can be packed and packs were asked for.
    """
    if wanted is None:  # gains nothing on a CPU, and has not been measured on a GPU
        return 1, None
    if experiment.has_branches and wanted != "1":
        if wanted == "auto":
            return 1, "none, since runs of several lengths share a trunk"
        raise UserError(
            f"--pack {wanted}: under --schedule wsd runs that differ in epochs share a trunk, "
            "which trains alone; leave --pack out"
        )
    trials = grid_trials(experiment)
    most = max(Counter(trial.config.shape() for trial in trials).values())
    if wanted != "auto":
        if most == 1 < int(wanted):
            raise UserError(
                f"--pack {wanted}: no two of these trials can train together; those can that "
                "differ in learning rate or seed alone"
            )
        return min(int(wanted), most), None
    # No process should be without work while another has a pack.
    most = min(most, -(-len(trials) // experiment.machine.max_concurrent))
    if most == 1:
        return 1, None
    rates = _measure(experiment, [size for size in SIZES if size <= most])
    best = max(rates, key=lambda size: rates[size])
    chosen = best if rates[best] > LEAST_GAIN * rates[1] else 1
    shown = ", ".join(f"{rate:,.0f} by {size}" for size, rate in rates.items())
    decision = f"{chosen} trials together" if chosen > 1 else "none, since it would not pay"
    return chosen, f"{decision}; tokens/s in all: {shown}"


def _measure(experiment: Experiment, sizes: Sequence[int]) -> dict[int, float]:
    """Tokens a second of all members together, for each size that memory can hold."""
    rates: dict[int, float] = {}
    for size in sizes:
        try:
            rates[size] = measure_tokens_per_second(
                experiment.space.base,
                experiment.machine.device,
                experiment.machine.threads_per_trial,
                size,
            )
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            break
        finally:  # for the next size, and then for the trials: this process lives as long as they
            gc.collect()
            if experiment.machine.device == "cuda":
                torch.cuda.empty_cache()
    return rates
