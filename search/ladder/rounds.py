"""What a ladder has to train next, from the ledger alone: rung by rung, so what is due after a kill
is what was due before it.

The rates of the first rung lie about the target's own, those of the second about the best of the
first, those of each other about what the rungs below predict. Where the best of a rung has no rate
next to it on a side, that is due too, unless it diverged: that bounds a valley as well.
Where so many diverged that fewer than three have a result, lower ones are due.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigpt_search.model.records import COMPLETE
from minigpt_search.search.ladder.best_rate_ahead import rate_at
from minigpt_search.search.ladder.ridge import Losses
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import PredictionRecord, TrialRecord
from minigpt_search.search.space.axes import TOKENS, Value
from minigpt_search.search.space.ladder_spec import (
    LATTICE,
    LEAST_RATES,
    SPACING,
    LadderSpec,
    ladder_widths,
    lattice_place,
    lattice_rate,
    run_tokens,
)

MOST_MORE = 6
"""Rates that a rung gets beyond those that it began with: a factor of 64."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One ended trial of a rung."""

    tokens: int
    """Training tokens, repeats counted."""
    width: int
    rate: float
    replicate: int
    loss: float | None
    """Final validation loss in nats; None for one that came to no result."""
    from_below: bool = False
    """Whether it went on from the run of its rate on a shorter rung, whose luck it shares."""


@dataclass(frozen=True, kw_only=True)
class LadderState:
    """How far a ladder has come."""

    due: tuple[tuple[dict[str, Value], int], ...]
    """What the present rung lacks: the axes' values and the replicate. Empty at the end."""
    later: int
    """Trials that the rungs after it will have, without rates beyond those that they begin with."""


def points_of(
    experiment: Experiment,
    trials: Iterable[TrialRecord],
    finished_ids: Collection[str] | None = None,
) -> tuple[Point, ...]:
    """The trials of the rungs, in the order of tokens, widths and rates; of `finished_ids` alone,
    if given."""
    assert experiment.ladder is not None
    rungs, widths = set(experiment.ladder.rungs), set(ladder_widths(experiment.space))
    found = [
        Point(
            tokens=run_tokens(trial.config, train.tokens_per_epoch),
            width=trial.config.model.embed_dim,
            rate=train.lr_peak,
            replicate=trial.replicate,
            loss=trial.final.val_loss_nats if trial.status == COMPLETE else None,
            from_below=trial.trunk_steps > 0,
        )
        for trial in trials
        if (train := trial.config.train).tokens_per_epoch in rungs
        and trial.config.model.embed_dim in widths
        and (finished_ids is None or trial.trial_id in finished_ids)
    ]
    return tuple(sorted(found, key=lambda p: (p.tokens, p.width, p.rate, p.replicate)))


def losses_of(points: Sequence[Point]) -> Losses:
    """Those with a result, for the fit; none of a rate of which a seed came to none."""
    lost = {(p.tokens, p.width, p.rate) for p in points if p.loss is None}
    known = [p for p in points if p.loss is not None and (p.tokens, p.width, p.rate) not in lost]
    rows = [(p.tokens, p.width, p.rate, p.loss) for p in known]
    tokens, width, rate, loss = np.array(rows, float).reshape(-1, 4).T
    return Losses(tokens, width, rate, loss, _trunks(known))


def _trunks(points: Sequence[Point]) -> np.ndarray:
    """The trunk that each run is of, as a number, and how many runs of it are shorter (n, 2)."""
    found, last = np.zeros((len(points), 2)), dict[tuple[int, float, int], int]()
    for n in sorted(range(len(points)), key=lambda n: points[n].tokens):
        point = points[n]
        key = point.width, point.rate, point.replicate
        below = last.get(key) if point.from_below else None
        found[n] = (n, 0) if below is None else found[below] + (0, 1)
        last[key] = n
    return found


def counted(points: Sequence[Point]) -> tuple[Point, ...]:
    """The trials, with and without a result, of each length and width of which three rates have
    one: a valley takes them."""
    lost = {(p.tokens, p.width, p.rate) for p in points if p.loss is None}
    rates = {(p.tokens, p.width, p.rate) for p in points} - lost
    cells = Counter((tokens, width) for tokens, width, _ in rates)
    return tuple(p for p in points if cells[p.tokens, p.width] >= LEAST_RATES)


def is_predictable(points: Sequence[Point]) -> bool:
    """Whether two lengths have valleys."""
    return len({p.tokens for p in counted(points)}) >= 2


def ladder_state(
    experiment: Experiment,
    trials: Sequence[TrialRecord],
    finished_ids: Collection[str] | None = None,
    predictions: Sequence[PredictionRecord] = (),
) -> LadderState:
    """Go through the rungs as far as the trials go, and then to the runs of `--verify`.

    Args:
        finished_ids: ids of trials that are not to be tried again; all of the ledger's by default.
    """
    spec, widths = experiment.ladder, ladder_widths(experiment.space)
    assert spec is not None
    points = points_of(experiment, trials, finished_ids)
    base, seeds = experiment.space.base, experiment.noise.seeds
    for number, tokens in enumerate(spec.rungs):
        due: list[tuple[dict[str, Value], int]] = []
        length = run_tokens(base, tokens)
        below = tuple(p for p in points if p.tokens < length)
        for width in widths:
            centre = _centre(below, length, width, base.train.lr_peak, spec)
            mine = [p for p in points if p.tokens == length and p.width == width]
            tried = {(lattice_place(p.rate), p.replicate) for p in mine}
            for place in _places(mine, centre, spec, seeds):
                values: dict[str, Any] = {TOKENS: tokens}
                values |= {"embed_dim": width} if len(widths) > 1 else {}
                values |= {"lr": lattice_rate(place)}
                due += [(values, r) for r in range(seeds) if (place, r) not in tried]
        if due:
            left = len(spec.rungs) - number - 1
            return LadderState(due=tuple(due), later=left * len(widths) * spec.rates * seeds)
    return _verification(experiment, trials, finished_ids, predictions)


def verify_tokens(experiment: Experiment) -> int | None:
    """Tokens an epoch of the runs that put the prediction to the test; None if none do."""
    if experiment.ladder is None or experiment.ladder.verify is None:
        return None
    return experiment.ladder.verify or experiment.space.base.train.tokens_per_epoch


def _verification(
    experiment: Experiment,
    trials: Sequence[TrialRecord],
    finished_ids: Collection[str] | None,
    predictions: Sequence[PredictionRecord],
) -> LadderState:
    """What is due of the runs that put the prediction to the test. They wait for its record, so
    that it is there before any outcome."""
    tokens, seeds = verify_tokens(experiment), experiment.noise.seeds
    if tokens is None:
        return LadderState(due=(), later=0)
    points = points_of(experiment, trials, finished_ids)
    tried = {
        (trial.config.train.lr_peak, trial.replicate)
        for trial in trials
        if trial.config.train.tokens_per_epoch == tokens
        and trial.config.model.embed_dim == experiment.space.base.model.embed_dim
        and (finished_ids is None or trial.trial_id in finished_ids)
    }
    results = sum(point.loss is not None for point in points)
    made = [
        each
        for each in predictions
        if each.tokens_per_epoch == tokens and (tried or each.rung_trials == results)
    ]
    if not made:  # nor will there be one where such runs were taken over, or too few rates trained
        never = tried or not is_predictable(points)
        return LadderState(due=(), later=0 if never else 2 * seeds)
    values: dict[str, Any] = {TOKENS: tokens}
    if "embed_dim" in experiment.space.axes:
        values["embed_dim"] = experiment.space.base.model.embed_dim
    due = [
        (values | {"lr": rate}, replicate)
        for rate in (made[-1].use_rate, made[-1].rival_rate)
        for replicate in range(seeds)
        if (rate, replicate) not in tried
    ]
    return LadderState(due=tuple(due), later=0)


def _places(mine: Sequence[Point], centre: int, spec: LadderSpec, seeds: int) -> list[int]:
    """The places of the lattice that a rung is to have: those it begins with, and, when all of them
    ended, the one beside the best where there is none on that side."""
    wanted = spec.places(centre)
    tried: dict[int, list[Point]] = {}
    for point in mine:
        tried.setdefault(lattice_place(point.rate), []).append(point)
    if any(len(tried.get(k, ())) < seeds for k in wanted):
        return wanted
    begun = [k for k in tried if k not in wanted]  # rates beyond, whose seeds may not have ended
    results = {k: _mean(own) for k, own in tried.items()}
    finite = {k: loss for k, loss in results.items() if loss is not None}
    beyond = min(tried) - SPACING  # also where too few below those that diverged make a valley
    if finite:
        best = min(finite, key=lambda k: finite[k])
        bare = [
            best + step
            for step in (SPACING, -SPACING)
            if best + step in LATTICE and not any(0 < (k - best) / step <= 1 for k in tried)
        ]
        if bare:
            beyond = bare[0]
        elif len(finite) >= LEAST_RATES:
            return [*wanted, *begun]
    more = len(begun) < MOST_MORE and beyond in LATTICE
    return [*wanted, *begun, *([beyond] if more else [])]


def _mean(points: Sequence[Point]) -> float | None:
    """Of the losses of one rate; None if one of its seeds came to none."""
    losses = [p.loss for p in points if p.loss is not None]
    return sum(losses) / len(losses) if losses and len(losses) == len(points) else None


@functools.lru_cache(maxsize=256)
def _centre(
    below: tuple[Point, ...], tokens: int, width: int, start: float, spec: LadderSpec
) -> int:
    """The place of the lattice about which a rung's rates lie, by the rungs below."""
    known = [p for p in below if p.loss is not None]
    if not known:
        return lattice_place(start)
    if len({p.tokens for p in known}) < 2:
        return spec.centre(_lowest(known, width), start)
    rates = [p.rate for p in known]
    rate = rate_at(losses_of(known), (float(tokens), float(width)))
    return spec.centre(min(max(rate, min(rates)), max(rates)), start)


def _lowest(points: Sequence[Point], width: int) -> float:
    """The best rate of the width, or of the nearest one that has a result."""
    nearest = min({p.width for p in points}, key=lambda w: (abs(math.log(w / width)), w))
    return min((p for p in points if p.width == nearest), key=lambda p: (p.loss, p.rate)).rate
