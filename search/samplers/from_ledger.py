"""What a sampler and its budget begin with, also when a search goes on: all that the ledger and
the trials' folders know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from minigpt_search.model.run_length import RunLength
from minigpt_search.model.training.checkpoint_files import step_files
from minigpt_search.search.early_stopping.rungs import record_curve
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.prediction import NEXT_TRIAL_SECONDS
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import KnownPoint
from minigpt_search.search.records.trial_folder import Started, read_started, trial_folder
from minigpt_search.search.results.configurations import by_configuration, configuration_result
from minigpt_search.search.results.confirm import is_fresh
from minigpt_search.search.samplers.budget_gate import BudgetGate
from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch, Observation
from minigpt_search.search.space.axes import AXES, Value, apply_axes
from minigpt_search.search.space.objective import SECONDS, counted_cost, parse_max_cost
from minigpt_search.search.trials.feasible import allowed
from minigpt_search.search.trials.reports import OBJECTIVE
from minigpt_search.search.trials.trial import Trial, make_trial


def begin_sampler(
    experiment: Experiment,
    ledger: Ledger,
    finished_ids: Set[str],
    folder: Path,
    gate: BudgetGate | None,
) -> LedgerOptunaSearch:
    """The sampler, told of all that has ended and of what is under way.

    Args:
        finished_ids: ids of the trials that this run has no more to do with.
        folder: the experiment's.
        gate: of the budget, if there is one.
    """
    assert experiment.plan.sampler is not None
    ended, configurations = ledger.ended(), _configurations(experiment, ledger)
    whole = [
        c for c in configurations if sum(t.trial_id in ended for t in c) == experiment.noise.seeds
    ]
    parts = [
        {name: AXES[name].value(records[0].config) for name in experiment.space.axes}
        for records in configurations
        if len(records) < experiment.noise.seeds
    ]
    begun = [*(started.values for started in _unfinished(experiment, finished_ids, folder)), *parts]
    unfinished = [values for n, values in enumerate(begun) if values not in begun[:n]]
    return LedgerOptunaSearch(
        space=experiment.space,
        sampler=experiment.plan.sampler,
        base_seed=experiment.noise.base_seed,
        finished=[observation_of(experiment, records) for records in whole],
        unfinished=unfinished,
        known=[observation_of_point(experiment, point) for point in experiment.reuse.known_points],
        allowed=allowed(experiment),
        tell=functools.partial(observation_of_report, experiment),
        objectives=len(experiment.plan.objectives),
        gate=gate,
    )


def missing_configurations(experiment: Experiment, ledger: Ledger, finished_ids: Set[str]) -> int:
    """Configurations that a sampler has still to try, or to end."""
    seeds = experiment.noise.seeds
    configurations = _configurations(experiment, ledger)
    assert experiment.plan.samples is not None
    return experiment.plan.samples - sum(
        sum(t.trial_id in finished_ids for t in c) == seeds for c in configurations
    )


def make_gate(
    experiment: Experiment,
    folder: Path,
    clock: Clock,
    estimator: Estimator | None,
    length: Callable[[Trial], RunLength],
) -> BudgetGate | None:
    """The gate of a sampler with a budget, None without one; `length` gives a trial's steps."""
    if (
        experiment.plan.budget_seconds is None
        or experiment.plan.sampler is None
        or estimator is None
    ):
        return None

    def seconds_left(values: Mapping[str, Value]) -> float:
        seconds = NEXT_TRIAL_SECONDS
        for replicate in range(experiment.noise.seeds):
            trial = make_trial(experiment, values, replicate)
            files = step_files(trial_folder(folder, trial.trial_id))
            done = int(files[0].stem.removeprefix("step_")) if files else 0
            seconds += (1 - done / length(trial).total_steps) * estimator.seconds(trial)
        return seconds

    budget, workers = experiment.plan.budget_seconds, experiment.machine.max_concurrent
    return BudgetGate(budget, workers, clock, seconds_left, experiment.noise.seeds)


def _configurations(experiment: Experiment, ledger: Ledger) -> list[list[TrialRecord]]:
    """The records of the search, those of one configuration together."""
    searched = (record for record in ledger.trials if not is_fresh(experiment, record))
    return list(by_configuration(searched).values())


def _unfinished(experiment: Experiment, finished_ids: Set[str], folder: Path) -> list[Started]:
    """The trials that were started and have not ended, in the order of their starts."""
    folders = [path.parent for path in (folder / "checkpoints").glob("*/trial.json")]
    folders = [each for each in folders if each.name not in finished_ids]
    folders.sort(key=lambda each: (each / "trial.json").stat().st_mtime)
    known = [started for each in folders if (started := read_started(each)) is not None]
    return [started for started in known if started.replicate < experiment.noise.seeds]


def observation_of(experiment: Experiment, records: Sequence[TrialRecord]) -> Observation:
    """A configuration by the records of all its replicates, none of which failed; its curve is
    the first one's."""
    values = {name: AXES[name].value(records[0].config) for name in experiment.space.axes}
    result = configuration_result(records)
    curve = record_curve(records[0]) if len(experiment.plan.objectives) == 1 else {}
    return _observation(
        experiment, values, result.status, result.loss, result.training_seconds, curve
    )


def observation_of_report(
    experiment: Experiment, values: Mapping[str, Value], result: Mapping[str, Any]
) -> Observation:
    """A trial by its values and its last report; its curve was told epoch by epoch."""
    seconds = result["training_seconds"]
    return _observation(experiment, values, result["status"], result[OBJECTIVE], seconds, {})


def observation_of_point(experiment: Experiment, point: KnownPoint) -> Observation:
    """Another experiment's result (`--warm-start`)."""
    return _observation(experiment, point.values, point.status, point.objective, point.seconds, {})


def _observation(
    experiment: Experiment,
    values: Mapping[str, Value],
    status: str,
    loss: float,
    seconds: float,
    curve: Mapping[int, float],
) -> Observation:
    cost, limit = None, parse_max_cost(experiment.plan.max_cost)
    if len(experiment.plan.objectives) > 1:
        unit = experiment.plan.objectives[1]
        config = apply_axes(experiment.space.base, values)
        counted = unit != SECONDS
        cost = counted_cost(config, unit, experiment.corpus.manifest) if counted else seconds
    overrun = seconds - limit.most if limit is not None and limit.unit == SECONDS else None
    return Observation(
        values=values, status=status, objective=loss, cost=cost, overrun=overrun, curve=curve
    )
