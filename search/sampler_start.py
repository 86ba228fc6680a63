"""What a sampler and its budget begin with, also when a search goes on: all that the ledger and
the trials' folders know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Set
from pathlib import Path

from model.batches import RunLength
from model.checkpoint import step_files
from model.config import RunConfig
from search.axes import AXES
from search.axis import Value
from search.budget_gate import BudgetGate
from search.clock import Clock
from search.confirm import is_fresh
from search.estimate import Estimator
from search.experiment import Experiment
from search.ledger import Ledger, TrialRecord
from search.limits import allowed
from search.plan import Trial, make_trial
from search.prediction import NEXT_TRIAL_SECONDS
from search.sampler import LedgerOptunaSearch
from search.telling import told, told_of_point, told_of_report
from search.trial_folder import Started, read_started, trial_folder


def begin_sampler(
    experiment: Experiment,
    ledger: Ledger,
    settled: Set[str],
    folder: Path,
    gate: BudgetGate | None,
) -> LedgerOptunaSearch:
    """The sampler, told of all that has ended and of what is under way.

    Args:
        settled: ids of the trials that this run has no more to do with.
        folder: the experiment's.
        gate: of the budget, if there is one.
    """
    assert experiment.sampler is not None
    ended, cells = ledger.ended(), _cells(experiment, ledger)
    whole = [c for c in cells if sum(t.trial_id in ended for t in c) == experiment.seeds]
    parts = [
        {name: AXES[name].value(cell[0].config) for name in experiment.axes}
        for cell in cells
        if len(cell) < experiment.seeds
    ]
    begun = [*(started.values for started in _unfinished(experiment, settled, folder)), *parts]
    unfinished = [values for n, values in enumerate(begun) if values not in begun[:n]]
    return LedgerOptunaSearch(
        space=experiment.space,
        sampler=experiment.sampler,
        base_seed=experiment.base_seed,
        finished=[told(experiment, cell) for cell in whole],
        unfinished=unfinished,
        known=[told_of_point(experiment, point) for point in experiment.known_points],
        allowed=allowed(experiment),
        tell=functools.partial(told_of_report, experiment),
        objectives=len(experiment.objectives),
        gate=gate,
    )


def missing_cells(experiment: Experiment, ledger: Ledger, settled: Set[str]) -> int:
    """Configurations that a sampler has still to try, or to end."""
    seeds = experiment.seeds
    cells = _cells(experiment, ledger)
    assert experiment.samples is not None
    return experiment.samples - sum(sum(t.trial_id in settled for t in c) == seeds for c in cells)


def make_gate(
    experiment: Experiment,
    folder: Path,
    clock: Clock,
    estimator: Estimator | None,
    length: Callable[[Trial], RunLength],
) -> BudgetGate | None:
    """For a sampler with a budget; `length` gives a trial's number of steps."""
    if experiment.budget_seconds is None or experiment.sampler is None or estimator is None:
        return None

    def seconds_left(values: Mapping[str, Value]) -> float:
        seconds = NEXT_TRIAL_SECONDS
        for replicate in range(experiment.seeds):
            trial = make_trial(experiment, values, replicate)
            files = step_files(trial_folder(folder, trial.trial_id))
            done = int(files[0].stem.removeprefix("step_")) if files else 0
            seconds += (1 - done / length(trial).total_steps) * estimator.seconds(trial)
        return seconds

    budget, workers = experiment.budget_seconds, experiment.max_concurrent
    return BudgetGate(budget, workers, clock, seconds_left, experiment.seeds)


def _cells(experiment: Experiment, ledger: Ledger) -> list[list[TrialRecord]]:
    """The records of the search, those of one configuration together."""
    cells: dict[RunConfig, list[TrialRecord]] = {}
    for record in ledger.trials:
        if not is_fresh(experiment, record):
            cells.setdefault(record.config.replace(seed=0), []).append(record)
    return list(cells.values())


def _unfinished(experiment: Experiment, settled: Set[str], folder: Path) -> list[Started]:
    """The trials that were started and have not ended, in the order of their starts."""
    folders = [path.parent for path in (folder / "checkpoints").glob("*/trial.json")]
    folders = [each for each in folders if each.name not in settled]
    folders.sort(key=lambda each: (each / "trial.json").stat().st_mtime)
    known = [started for each in folders if (started := read_started(each)) is not None]
    return [started for started in known if started.replicate < experiment.seeds]
