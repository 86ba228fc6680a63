"""Configurations without their seeds, each with the trials that ran of it: what is compared."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.cost import cost_of_record
from minigpt_search.search.results.statistics import fair_means
from minigpt_search.search.space.axes import AXES, Value, configuration_label
from minigpt_search.search.space.objective import SECONDS, MaxCost, parse_max_cost


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One configuration and its trials, by replicate."""

    label: str
    """Its values in words: `lr=0.001 embed_dim=128`."""
    config: RunConfig
    """Its seed is 0."""
    values: dict[str, Value]
    """The axes' values."""
    trials: tuple[TrialRecord, ...]
    """All that ended, in the order of their replicates."""
    seeds: int
    """Replicates of the search: those beyond are fresh ones, that it was not chosen by."""
    max_cost: MaxCost | None = None
    """What it may cost to be chosen."""
    paired: bool = False
    """Whether its replicates have the seeds of the others'."""

    @property
    def searched(self) -> tuple[TrialRecord, ...]:
        """Complete trials of the search itself."""
        return tuple(t for t in self.complete if t.replicate < self.seeds)

    @property
    def fresh(self) -> tuple[TrialRecord, ...]:
        """Complete trials of `--confirm`."""
        return tuple(t for t in self.complete if t.replicate >= self.seeds)

    @property
    def complete(self) -> tuple[TrialRecord, ...]:
        return tuple(t for t in self.trials if t.status == COMPLETE)

    @property
    def affordable(self) -> bool:
        """Whether it came to cost no more than it may, as the mean of its trials in the search."""
        limit = self.max_cost
        costs = [] if limit is None else [cost_of_record(t, limit.unit) for t in self.searched]
        return limit is None or not costs or sum(costs) / len(costs) <= limit.most

    @property
    def diverged(self) -> int:
        """How many of its trials did."""
        return sum(t.status == DIVERGED for t in self.trials)


def configurations_of(experiment: Experiment, trials: Iterable[TrialRecord]) -> list[Configuration]:
    """Every configuration of `trials`, in the order that they first ended."""
    names, limit = list(experiment.space.axes), parse_max_cost(experiment.plan.max_cost)
    return [
        Configuration(
            label=configuration_label(config, names),
            config=config,
            values={name: AXES[name].value(config) for name in names},
            trials=tuple(sorted(members, key=lambda t: t.replicate)),
            seeds=experiment.noise.seeds,
            max_cost=limit,
            paired=experiment.noise.paired,
        )
        for config, members in by_configuration(trials).items()
    ]


def by_configuration(trials: Iterable[TrialRecord]) -> dict[RunConfig, list[TrialRecord]]:
    """The trials of each configuration, whose seed is 0 in the key; in the order they are given."""
    found: dict[RunConfig, list[TrialRecord]] = {}
    for trial in trials:
        found.setdefault(without_seed(trial.config), []).append(trial)
    return found


@functools.lru_cache(maxsize=10_000)
def without_seed(config: RunConfig) -> RunConfig:
    """The configuration that replicates have in common: `config` with seed 0."""
    return config.replace(seed=0)


def losses(trials: Sequence[TrialRecord]) -> tuple[float, ...]:
    """Final validation losses in nats."""
    return tuple(trial.final.val_loss_nats for trial in trials)


def losses_by_replicate(trials: Iterable[TrialRecord]) -> dict[int, float]:
    """Final validation losses in nats of one configuration's trials."""
    return {trial.replicate: trial.final.val_loss_nats for trial in trials}


def mean_loss(trials: Sequence[TrialRecord]) -> float:
    """Their mean; there must be one."""
    return sum(losses(trials)) / len(trials)


def ranked(found: list[Configuration]) -> list[Configuration]:
    """Those with a result in the search within `--max-cost`, best first by the mean of their
    replicates. One that diverged with one of its seeds comes after all that never did: it can't be
    relied on."""
    with_result = [each for each in found if each.searched and each.affordable]
    groups = [losses_by_replicate(each.searched) for each in with_result]
    means = fair_means(groups, paired=any(each.paired for each in with_result))
    by = dict(zip((each.config for each in with_result), means, strict=True))
    return sorted(with_result, key=lambda each: (diverged(each, fresh=False), by[each.config]))


def diverged(one: Configuration, *, fresh: bool) -> bool:
    """Whether one of its trials in the search did, or of its fresh ones."""
    return any(t.status == DIVERGED and (t.replicate >= one.seeds) == fresh for t in one.trials)


def same_but(one: Configuration, others: list[Configuration], free: str) -> list[Configuration]:
    """The configurations that differ from `one` on axis `free` alone, itself among them."""
    rest: Mapping[str, Value] = {k: v for k, v in one.values.items() if k != free}
    return [o for o in others if {k: v for k, v in o.values.items() if k != free} == rest]


@dataclass(frozen=True, kw_only=True)
class ConfigurationResult:
    """One configuration's result."""

    status: str
    """complete if all its replicates are; else the worst that one of them came to: what diverges
    with one seed can't be relied on."""
    loss: float
    """Mean final validation loss in nats; that of a uniform prediction where it is not complete,
    since a sampler that is told nothing would try the same region again."""
    training_seconds: float
    """Mean of one replicate."""


def configuration_result(records: Sequence[TrialRecord]) -> ConfigurationResult:
    """What all replicates of a configuration (one at least) came to together."""
    statuses = {record.status for record in records}
    status = next((bad for bad in (FAILED, DIVERGED, STOPPED) if bad in statuses), COMPLETE)
    loss = math.log(records[0].config.model.vocab_size)
    if status == COMPLETE:
        loss = mean_loss(records)
    seconds = sum(cost_of_record(record, SECONDS) for record in records) / len(records)
    return ConfigurationResult(status=status, loss=loss, training_seconds=seconds)
