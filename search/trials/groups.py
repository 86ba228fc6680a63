"""Which trials of a plan share a trunk (`model/training/trunk.py`), and what that saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minigpt_search.model.config import RunConfig
from minigpt_search.model.run_length import RunLength
from minigpt_search.model.training.trunk import common_steps, trunk_of
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.trial import Trial


def trunk_groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials, those of one trunk together with the longest last, all others alone."""
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trunk_of(trial.config) or trial.trial_id, []).append(trial)
    return [sorted(group, key=lambda t: t.config.train.epochs) for group in groups.values()]


def rung_beside(experiment: Experiment, config: RunConfig, by: int) -> RunConfig | None:
    """The run of the same rate, width and seed on the rung above (1) or below (-1) this one's,
    where a ladder's rungs share trunks; None where there is none."""
    spec, tokens = experiment.ladder, config.train.tokens_per_epoch
    if spec is None or not spec.trunks or tokens not in spec.rungs:
        return None
    place = spec.rungs.index(tokens) + by
    if place not in range(len(spec.rungs)):
        return None
    return config.replace(tokens_per_epoch=spec.rungs[place])


def shared_steps(
    experiment: Experiment,
    trials: Sequence[Trial],
    length: Callable[[Trial], RunLength],
    ended: Iterable[RunConfig] = (),
) -> dict[str, int]:
    """The steps that a trial, by its id, takes over from its trunk when these are trained, and in a
    ladder after those that have `ended`; the trials that take over none are left out."""
    if experiment.ladder is not None:
        known = {trial.config for trial in trials}.union(ended)
        below = {trial.trial_id: rung_beside(experiment, trial.config, -1) for trial in trials}
        return {
            trial.trial_id: steps_from_below(rung, length(trial))
            for trial in trials
            if (rung := below[trial.trial_id]) is not None and rung in known
        }
    if not experiment.has_branches:
        return {}
    return {
        trial.trial_id: length(trial).constant_until
        for group in trunk_groups(trials)
        for trial in group[:-1]
    }


def steps_from_below(below: RunConfig, length: RunLength) -> int:
    """The steps that a run of this length takes over from `below`, the one of the rung below."""
    return common_steps(RunLength.of(below, length.sequences_available), length)


def price_line(
    experiment: Experiment, trials: Sequence[Trial], length: Callable[[Trial], RunLength]
) -> list[str]:
    """`9.4 epochs are trained instead of 15`, for the plan; no line where nothing is shared."""
    shared = shared_steps(experiment, trials, length)
    if not shared:
        return []
    if experiment.ladder is not None:
        steps = sum(length(trial).total_steps for trial in trials)
        return [
            f"Branches   {steps - sum(shared.values()):,} steps are trained instead of {steps:,} "
            "if each rung has the rates of the one below, whose runs its own go on from; a rate "
            "that is new there is trained from its start"
        ]
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
