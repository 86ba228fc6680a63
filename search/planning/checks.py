"""Whether everything in a plan can run on the corpus and machine there are."""

from __future__ import annotations

import functools
from collections.abc import Callable

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.run_length import RunLength
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.feasible import corners, drawn
from minigpt_search.search.trials.trial import Trial, collect, grid_trials, make_trial

BYTES_PER_PARAMETER = 16
"""Weight, gradient and AdamW's two moments in fp32."""
DRAWN = 100
"""Configurations drawn to estimate what a sampler will cost."""


def check_trials(experiment: Experiment, length: Callable[[Trial], RunLength]) -> list[Trial]:
    """A grid's trials; for a sampler, some drawn at random, to tell what it will cost.

    Raises `UserError` with everything that can't run; a sampler's two corners stand for all.
    """
    check = functools.partial(_check_trial, experiment, length)
    if experiment.plan.sampler is None:
        trials = grid_trials(experiment)
        collect(check, trials)
        return trials
    ends = [make_trial(experiment, values, 0) for values in corners(experiment)]
    collect(check, ends)
    some = [make_trial(experiment, values, 0) for values in drawn(experiment, DRAWN)]
    return some or ends


def _check_trial(
    experiment: Experiment, length: Callable[[Trial], RunLength], trial: Trial
) -> None:
    length(trial)
    model = trial.config.model
    at_a_time = experiment.machine.max_concurrent * (
        2 if experiment.has_branches else experiment.machine.pack
    )
    gigabytes = parameter_count(model) * BYTES_PER_PARAMETER / 1e9 * at_a_time
    if experiment.machine.device == "cpu" and gigabytes > experiment.machine.hardware["memory_gb"]:
        raise UserError(
            f"embed_dim={model.embed_dim}: {at_a_time} at a time need "
            f"{gigabytes:,.0f} GB for weights, gradients and optimizer, and there are "
            f"{experiment.machine.hardware['memory_gb']} GB; use fewer with --max-concurrent, or a "
            "smaller width"
        )
