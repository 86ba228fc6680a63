"""Trials that train together in one process as one batched model, and whether that pays here.

Small batches on a GPU leave it waiting for the next kernel's launch; a pack launches once for all
of its members (`model/network/packed_gpt.py`). Where the arithmetic itself is the limit, as on a
CPU, it gains nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.planning.measure import (
    SIZES,
    ProbeProcess,
    fewest_nearly_as_fast,
    have_room,
    measure_together,
    prepare,
    setting_of,
)
from minigpt_search.search.planning.memory import takes_most_memory
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.trial import grid_trials

MEASURED_SECONDS = 1.0
"""Of training, at each size."""


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
    rates = measure(experiment, [size for size in SIZES if size <= most])
    chosen = fewest_nearly_as_fast(rates)
    shown = ", ".join(f"{rate:,.0f} by {size}" for size, rate in rates.items())
    decision = f"{chosen} trials together" if chosen > 1 else "none, since it would not pay"
    return chosen, f"{decision}; tokens/s in all: {shown}"


def measure(experiment: Experiment, sizes: Sequence[int]) -> dict[int, float]:
    """Tokens a second of all members together, for each size that memory can hold: of the trials
    that can be packed those that take most of it."""
    rates: dict[int, float] = {}
    machine, configs = experiment.machine, [trial.config for trial in grid_trials(experiment)]
    alike = Counter(config.shape() for config in configs)
    config = takes_most_memory(config for config in configs if alike[config.shape()] > 1)
    setting = setting_of(experiment, config)
    for size in sizes:
        with ProbeProcess(machine.device, machine.threads_per_trial) as probe:
            try:
                prepare([probe], config, size, **setting)
                [answer] = measure_together([probe], "train", MEASURED_SECONDS)
            except ChildProcessError:
                if not rates:
                    raise
                break
            if rates and not have_room([answer]):
                break
            rates[size] = answer["tokens_per_second"]
    return rates
