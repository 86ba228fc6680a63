"""Which trials of a plan share a trunk (`model/training/trunk.py`), and what that saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigpt_search.model.config import RunConfig
from minigpt_search.model.run_length import RunLength
from minigpt_search.model.training.trunk import trunk_of
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.trial import Trial


def trunk_groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials, those of one trunk together with the longest last, all others alone."""
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trunk_of(trial.config) or trial.trial_id, []).append(trial)
    return [sorted(group, key=lambda t: t.config.train.epochs) for group in groups.values()]


def shared_steps(
    experiment: Experiment, trials: Sequence[Trial], length: Callable[[Trial], RunLength]
) -> dict[str, int]:
    """The steps that a trial, by its id, takes over from its trunk when these are trained; the
    trials that take over none are left out."""
    if not experiment.has_branches:
        return {}
    return {
        trial.trial_id: length(trial).constant_until
        for group in trunk_groups(trials)
        for trial in group[:-1]
    }


def price_line(
    experiment: Experiment, trials: Sequence[Trial], length: Callable[[Trial], RunLength]
) -> list[str]:
    """`9.4 epochs are trained instead of 15`, for the plan; no line where nothing is shared."""
    shared = shared_steps(experiment, trials, length)
    if not shared:
        return []
    whole = sum(trial.config.train.epochs for trial in trials)
    saved = sum(
        shared[trial.trial_id] / length(trial).steps_per_epoch
        for trial in trials
        if trial.trial_id in shared
    )
    trunks = len(trials) - len(shared)
    return [
        f"Branches   {whole - saved:,.1f} epochs are trained instead of {whole:,}: "
        f"{len(shared)} of the runs decay from the trunk of a longer one ({trunks} "
        f"trunk{'s' * (trunks > 1)})"
    ]


def make_packs(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """The trials in packs of at most `size`, each of one shape (`RunConfig.shape`), as even as
    can be."""
    alike: dict[RunConfig, list[Trial]] = {}
    for trial in trials:
        alike.setdefault(trial.config.shape(), []).append(trial)
    packs = []
    for group in alike.values():
        n = -(-len(group) // size)
        packs += [group[len(group) * i // n : len(group) * (i + 1) // n] for i in range(n)]
    return packs
