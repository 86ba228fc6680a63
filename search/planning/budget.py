"""`--budget 30m`: a grid is made to fit by fewer tokens an epoch, a sampler by fewer trials.

Consent is in the flag; the plan says what was trimmed. A trial shorter than `LEAST_STEPS` says
nothing about a learning rate, so there a grid is refused instead.
"""

from __future__ import annotations

import math
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted, duration
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.prediction import trials_that_fit
from minigpt_search.search.records.experiment import Experiment, replace_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.trial import Trial, grid_trials

LEAST_STEPS = 100
"""Optimizer steps of the shortest trial."""
USABLE_SHARE = 0.9
"""Of the budget that is left: predictions are off by a tenth now and then."""


def before_it_is_known(experiment: Experiment) -> Experiment:
    """The experiment with as few trials as there may be, for checks before the number that fits is
    known."""
    if experiment.plan.budget_seconds is None or experiment.plan.samples is None:
        return experiment
    return experiment.replace(samples=1)


def within_budget(
    experiment: Experiment, trials: list[Trial], estimator: Estimator, used: float
) -> tuple[Experiment, Experiment, list[Trial], list[str]]:
    """The experiment as it will be; as it is expected to come out, which differs in a sampler's
    number of trials; its trials; and lines about the budget."""
    if experiment.plan.budget_seconds is None:
        return experiment, experiment, trials, []
    if experiment.plan.sampler is None:
        experiment, trials, line = fit_grid(experiment, trials, estimator, used)
        return experiment, experiment, trials, [line]
    expected, line = fit_sampler(experiment, trials, estimator, used)
    return experiment, experiment.replace(samples=expected), trials, [line]


def freeze_plan(experiment: Experiment, folder: Path, ledger: Ledger) -> Experiment:
    """When a sampler's budget is spent its plan is what there was: so nothing of it is missing."""
    if experiment.plan.budget_seconds is None or experiment.plan.sampler is None:
        return experiment
    frozen = experiment.replace(samples=max(1, ledger.configurations()))
    if frozen != experiment:
        replace_experiment(folder, frozen)
    return frozen


def fit_grid(
    experiment: Experiment, trials: list[Trial], estimator: Estimator, used: float
) -> tuple[Experiment, list[Trial], str]:
    """The grid with as many tokens an epoch as fit into its budget, of which `used` seconds are
    over; its trials; and a line about it. Raises `UserError` if it would be too few."""
    budget = experiment.plan.budget_seconds
    assert budget is not None
    available = USABLE_SHARE * (budget - used)
    whole = estimator.search(experiment, trials)
    if whole <= available:
        return experiment, trials, f"Budget     {duration(budget)}: the whole grid fits"

    def trimmed(tokens: int) -> tuple[Experiment, list[Trial]]:
        plan = experiment.replace(base=experiment.space.base.replace(tokens_per_epoch=tokens))
        return plan, grid_trials(plan)

    def fits(tokens: int) -> bool:
        _, cut = trimmed(tokens)
        return _long_enough(cut, estimator) and estimator.search(experiment, cut) <= available

    longest = max(estimator.length(trial).tokens_per_epoch for trial in trials)
    unit = max(t.config.train.batch_size * t.config.model.seq_len for t in trials)
    low = least_tokens(trials, unit)
    if not fits(low):
        _, least = trimmed(low)
        total = duration(used + estimator.search(experiment, least) / USABLE_SHARE)
        raise UserError(
            f"--budget {duration(budget)}: {counted(len(trials), 'trial')} of {LEAST_STEPS} "
            f"steps and more take about {total} here; give that much, or fewer values"
        )
    high = max(low, longest // unit * unit)
    while high - low > unit:  # `low` fits
        middle = (low + high) // 2 // unit * unit
        low, high = (middle, high) if fits(middle) else (low, middle)
    plan, cut = trimmed(low)
    line = (
        f"Budget     {duration(budget)}: with {longest:,} tokens an epoch the grid takes about "
        f"{duration(whole)}, so it is trimmed to {low:,} ({low / longest:.0%})"
    )
    if experiment.space.cells is not None and experiment.plan.max_cost is not None:
        line += f"; --max-cost {experiment.plan.max_cost} was of the untrimmed"
    return plan, cut, line


def least_tokens(trials: list[Trial], unit: int) -> int:
    """Tokens an epoch, in whole `unit`s, with which no trial has fewer than LEAST_STEPS steps."""
    least = max(
        -(-LEAST_STEPS // train.epochs) * train.batch_size * trial.config.model.seq_len
        for trial in trials
        if (train := trial.config.train)
    )
    return -(-least // unit) * unit


def _long_enough(trials: list[Trial], estimator: Estimator) -> bool:
    """Whether all have their steps; a fixed warm-up may be longer than the run (`UserError`)."""
    try:
        return all(estimator.length(trial).total_steps >= LEAST_STEPS for trial in trials)
    except UserError:
        return False


def fit_sampler(
    experiment: Experiment, drawn: list[Trial], estimator: Estimator, used: float
) -> tuple[int, str]:
    """How many trials are to be expected of configurations like those `drawn`, and a line about
    it. Raises `UserError` for less than one."""
    budget, workers = experiment.plan.budget_seconds, experiment.machine.max_concurrent
    assert budget is not None and experiment.plan.samples is not None
    own = [experiment.noise.seeds * estimator.seconds(trial) for trial in drawn]
    available, most = USABLE_SHARE * (budget - used), experiment.plan.samples
    expected = min(most, trials_that_fit(lambda n: own[n % len(own)], workers, available))
    if expected == 0:
        minutes = math.ceil(2 * (max(own) + used) / 60)
        raise UserError(
            f"--budget {duration(budget)}: hardly a trial fits, they take {duration(min(own))} to "
            f"{duration(max(own))}; give --budget {minutes}m, or narrower axes"
        )
    stops = (
        "; more if some are stopped early" if experiment.plan.stopper in ("asha", "median") else ""
    )
    count = f"{'all' if expected == most else 'about'} {counted(expected, 'trial')}"
    fit = "fits" if expected == 1 else "fit"
    return expected, f"Budget     {duration(budget)}: {count} {fit}{stops}"
