"""How many rungs a ladder has, how long they are, and how many rates and seeds each gets: those by
which the best rate at the target is expected to be told most narrowly within the budget.

    4 rungs of 69,632 to 557,056 tokens an epoch, 4 rates each; in 41 minutes to a factor of 5.2
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted, duration
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT, RunLength
from minigpt_search.model.training.trunk import common_steps
from minigpt_search.search.ladder.design import expected_factor
from minigpt_search.search.ladder.layout import on_its_text
from minigpt_search.search.ladder.prediction import MOST_FACTOR
from minigpt_search.search.ladder.rounds import verify_tokens
from minigpt_search.search.planning.budget import LEAST_STEPS, USABLE_SHARE
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.prediction import rounds_seconds
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.plan import END_SECONDS, START_SECONDS
from minigpt_search.search.space.axes import TOKENS, Value
from minigpt_search.search.space.ladder_spec import (
    LEAST_RUNGS,
    LadderSpec,
    ladder_widths,
    lattice_place,
    lattice_rate,
    most_warmup,
    no_room,
    own_recipe,
    run_tokens,
    rung_lengths,
    share_trunks,
)
from minigpt_search.search.trials.trial import Trial, make_trial

RUNGS, RATIOS, RATES, SEEDS = (3, 4, 5, 6), (1.5, 2.0, 3.0, 4.0), (3, 4, 5), (1, 2, 3)
"""What is compared."""
NEAREST = 0.5
"""The largest rung has at most this share of the target's tokens."""
CHECK_WORTH = 0.05
"""How much wider an interval may be, in its logarithm, for another rung that is predicted from
those below it before it counts."""
MORE_RATES = 1
"""Of the first rung and of the last, beyond those that they begin with, when the price is
reckoned: for a best one at an end."""


def fit_ladder(
    experiment: Experiment, estimator: Estimator, used: float, seeds: int | None
) -> tuple[Experiment, list[Trial], list[str]]:
    """The ladder as it fits into its budget, of which `used` seconds are over; the trials that it
    plans; and lines about both. `seeds` of each rate, None: by the budget. Raises `UserError`."""
    spec, lines = experiment.ladder, []
    assert spec is not None
    if experiment.plan.budget_seconds is None:
        spec = dataclasses.replace(spec, factor=round(factor_of(experiment, spec), 2))
    else:
        experiment, line = sized(experiment, estimator, used, SEEDS if seeds is None else (seeds,))
        spec, lines = experiment.ladder, [line]
    made = on_its_text(experiment, spec)
    trials = check_trials(made, estimator.length)
    return made, trials, [*lines, *ladder_lines(made, estimator)]


def check_rungs(
    experiment: Experiment, trials: Sequence[Trial], length: Callable[[Trial], RunLength]
) -> None:
    """Raise `UserError` for rungs, as given, that are too short to say anything."""
    if experiment.ladder is None or experiment.plan.budget_seconds is not None:
        return
    steps = min(length(trial).total_steps for trial in trials)
    if steps < LEAST_STEPS:
        raise UserError(
            f"--rungs {experiment.ladder.rungs[0]}: its runs have {steps} steps, and under "
            f"{LEAST_STEPS} say nothing about a learning rate; give longer ones"
        )


def ladder_lines(experiment: Experiment, estimator: Estimator) -> list[str]:
    """The target, the rungs below it, and how well they are expected to tell its best rate."""
    spec, base = experiment.ladder, experiment.space.base
    assert spec is not None and base.train.tokens_per_epoch is not None
    train, epochs = base.train, base.train.epochs
    values: dict[str, Value] = {
        TOKENS: train.tokens_per_epoch,
        "lr": experiment.space.axes["lr"][0],
    }
    if "embed_dim" in experiment.space.axes:
        values["embed_dim"] = base.model.embed_dim
    target = make_trial(experiment, values, 0)
    length = estimator.length(target)
    steps = length.total_steps
    warm = f"warm-up {length.warmup_steps:,} of {steps:,} steps"
    if spec.trunks:
        warm += ", as many on every rung"
    else:
        warm += f", {length.warmup_steps / steps:.1%} of every run's"
    trained = [run_tokens(base, tokens) for tokens in spec.rungs]
    rungs = ", ".join(f"{tokens:,}" for tokens in trained) + " tokens"
    if trained != [tokens * epochs for tokens in spec.rungs]:
        rungs += f" (whole sequences of {base.model.seq_len} of what was asked for)"
    beyond = base.train.tokens_per_epoch / spec.rungs[-1]
    widths = ladder_widths(experiment.space)
    of_widths = f" and width ({', '.join(map(str, widths))})" if len(widths) > 1 else ""
    places = spec.places(lattice_place(base.train.lr_peak))
    first = [f"{lattice_rate(place):g}" for place in places]
    hardly = ""
    if spec.factor is not None and spec.factor > MOST_FACTOR:
        more = "more --budget" if experiment.plan.budget_seconds else "longer --rungs, more --rates"
        hardly = f", so expect the interval alone: {more} or a nearer target gives a point"
    lines = [
        f"Target     {experiment.preset}: {length.total_tokens:,} tokens in "
        f"{counted(epochs, 'epoch')}, width {base.model.embed_dim}, {warm}; "
        f"{duration(estimator.seconds(target))} a run here",
        f"Rungs      {rungs}, the target's recipe with {counted(epochs, 'epoch')} each and "
        f"{_rates(experiment, spec)} a rung{of_widths}, more where the best is at an end",
        f"Rates      {', '.join(first)} on the shortest rung, then about what was found below",
        f"Expected   the best rate {beyond:.3g} times beyond the largest rung to a factor of about "
        f"{float(f'{spec.factor:.2g}'):g} (95% interval); a point is given up to "
        f"{MOST_FACTOR:g}{hardly}",
    ]
    lines += _unshared_line(experiment)
    tokens = verify_tokens(experiment)
    if tokens is not None:
        tested = make_trial(experiment, values | {TOKENS: tokens}, 0)
        each, tested_tokens = duration(estimator.seconds(tested)), run_tokens(base, tokens)
        runs = f"{experiment.noise.seeds} seeds of each, " * (experiment.noise.seeds > 1)
        lines.append(
            f"Verify     then the predicted rate and one rival on {tested_tokens:,} tokens: {runs}"
            f"{each} a run, not counted below; two rates can show the rate wrong, hardly right"
        )
    return lines


def _rates(experiment: Experiment, spec: LadderSpec) -> str:
    """`4 rates`, `4 rates of 2 seeds`."""
    seeds = experiment.noise.seeds
    return f"{spec.rates} rates" + f" of {seeds} seeds each" * (seeds > 1)


def _unshared_line(experiment: Experiment) -> list[str]:
    """Under wsd, why the rungs share no trunks, if they don't, and what would let them."""
    spec, base = experiment.ladder, experiment.space.base
    assert spec is not None
    if base.train.schedule != "wsd" or spec.trunks:
        return []
    most = most_warmup(rung_lengths(base, spec)[0])
    if spec.warmup_steps is None:
        why = "a warm-up that is a share of each run makes rungs differ from their first step on"
    else:
        why = f"a warm-up of {spec.warmup_steps:,} steps is too much of the shortest rung"
    return [
        f"Branches   none: {why}; --space warmup_steps=N, at most {most}, lets them share trunks"
    ]


def sized(
    experiment: Experiment, estimator: Estimator, used: float, seeds: Sequence[int]
) -> tuple[Experiment, str]:
    """The experiment with the rungs for its budget, of which `used` seconds are over, and with one
    of these numbers of seeds; and a line about them. Raises `UserError` if no three rungs of
    `LEAST_STEPS` steps fit."""
    spec, budget = experiment.ladder, experiment.plan.budget_seconds
    assert spec is not None and budget is not None
    available = USABLE_SHARE * (budget - used)
    train = experiment.space.base.train
    unit = train.batch_size * experiment.space.base.model.seq_len
    target = train.tokens_per_epoch
    assert target is not None
    least = -(-LEAST_STEPS // train.epochs) * unit
    leasts = [least]
    if train.schedule == "wsd" and spec.warmup_steps is not None:
        # From that length on the rungs share trunks, and cost less.
        sharing = math.ceil(spec.warmup_steps / WARMUP_SHARE_LIMIT)
        leasts.append(max(least, -(-sharing // train.epochs) * unit))
    prices = {n: ladder_price(experiment.replace(seeds=n), estimator) for n in seeds}
    _check_room(experiment, prices[seeds[0]], leasts, available, used)
    best: tuple[float, float, LadderSpec, int] | None = None
    for n, count, ratio, rates, least in itertools.product(seeds, RUNGS, RATIOS, RATES, leasts):
        price, most = prices[n], int(NEAREST * target)
        make = functools.partial(_spec, spec, least, unit, count, ratio, rates)
        made = _largest(make, most, unit, price, available)
        if made is not None:
            found = factor_of(experiment.replace(seeds=n), made)
            if best is None or _worth(found, made) < _worth(best[0], best[2]):
                best = found, price(made), made, n
    if best is None:
        raise UserError(no_room(target))
    factor, seconds, made, n = best
    line = f"Budget     {duration(budget)}: {len(made.rungs)} rungs take about {duration(seconds)}"
    return experiment.replace(
        ladder=dataclasses.replace(made, factor=round(factor, 2)), seeds=n
    ), line


def _worth(factor: float, spec: LadderSpec) -> float:
    """The logarithm of the width to expect, less what further rungs are worth as checks."""
    return math.log(factor) - CHECK_WORTH * len(spec.rungs)


def factor_of(experiment: Experiment, spec: LadderSpec) -> float:
    """How wide the interval of the best rate at the target is to be expected."""
    train = experiment.space.base.train
    assert train.tokens_per_epoch is not None
    target = float(train.tokens_per_epoch * train.epochs), experiment.space.base.model.embed_dim
    widths = ladder_widths(experiment.space)
    return expected_factor(spec, widths, target, train.epochs, experiment.noise.seeds)


def ladder_price(experiment: Experiment, estimator: Estimator) -> Callable[[LadderSpec], float]:
    """Seconds from the plan to the command's end of a ladder with these rungs. Where they share
    trunks, each rung's rates are taken to recur on the next, but for those added at an end."""
    base, widths = experiment.space.base, ladder_widths(experiment.space)
    several, rate = len(widths) > 1, experiment.space.axes["lr"][0]

    @functools.cache
    def seconds(tokens: int, width: int) -> float:
        values = {TOKENS: tokens, "lr": rate} | ({"embed_dim": width} if several else {})
        return estimator.seconds(make_trial(experiment, values, 0))

    def rounds(spec: LadderSpec) -> Iterable[list[float]]:
        target = own_recipe(base, spec)
        lengths = rung_lengths(target, spec)
        shares = [0.0] * len(lengths)
        if share_trunks(target, spec):
            shares[1:] = [common_steps(a, b) / b.total_steps for a, b in pairwise(lengths)]
        for tokens, share in zip(spec.rungs, shares, strict=True):
            more = MORE_RATES * (tokens in (spec.rungs[0], spec.rungs[-1]))
            each = [1 - share] * spec.rates + [1.0] * more
            yield [
                part * seconds(tokens, width)
                for width in widths
                for part in each
                for _ in range(experiment.noise.seeds)
            ]

    workers = experiment.machine.max_concurrent
    return lambda spec: START_SECONDS + rounds_seconds(rounds(spec), workers) + END_SECONDS


def _spec(
    like: LadderSpec, least: int, unit: int, count: int, ratio: float, rates: int, top: int
) -> LadderSpec | None:
    """Rungs up to `top`, in whole `unit`s; None if the first would be too short."""
    rungs = tuple(round(top / ratio**k / unit) * unit for k in reversed(range(count)))
    if rungs[0] < least or len(set(rungs)) < count:
        return None
    return dataclasses.replace(like, rungs=rungs, rates=rates)


def _largest(
    make: Callable[[int], LadderSpec | None],
    most: int,
    unit: int,
    price: Callable[[LadderSpec], float],
    available: float,
) -> LadderSpec | None:
    """The one with the longest last rung whose price is `available` at most; None if none is."""
    tops = range(unit, most + 1, unit)
    low, high = 0, len(tops)
    found = None
    while low < high:
        middle = (low + high) // 2
        made = make(tops[middle])
        if made is None or price(made) <= available:
            found = made or found
            low = middle + 1
        else:
            high = middle
    return found


def _check_room(
    experiment: Experiment,
    price: Callable[[LadderSpec], float],
    leasts: Sequence[int],
    available: float,
    used: float,
) -> None:
    """Raise `UserError` if the shortest ladder, or the cheapest of these shortest rungs, takes
    longer than there is."""
    spec, budget = experiment.ladder, experiment.plan.budget_seconds
    assert spec is not None and budget is not None
    ladders = [(least, least * 3 // 2, least * 9 // 4) for least in leasts]
    shortest = min(price(dataclasses.replace(spec, rungs=rungs, rates=3)) for rungs in ladders)
    if shortest > available:
        needed = duration(1.05 * (used + shortest / USABLE_SHARE))
        raise UserError(
            f"--budget {duration(budget)}: {LEAST_RUNGS} rungs of {LEAST_STEPS} steps and more "
            f"take about {needed} here; give that much"
        )
