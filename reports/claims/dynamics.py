"""Claims about how training went: monotone, without spikes, with steady gradients.

Curves are those of a trial's record: means over about 100 stretches of steps.

The noise of a point, from batch to batch, is estimated from second differences of the curve, which
a trend that is nearly straight over three points leaves alone, by their median, which the steep
first points leave alone.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import TrialCurve
from minigpt_search.reports.claims.evidence import Evidence, Finding
from minigpt_search.reports.claims.noise import (
    FAILS,
    HOLDS,
    NOT_RUN,
    UNTOLD,
    Noisy,
    all_of,
)
from minigpt_search.search.records.ledger_records import TrialRecord

PARTS = 10
"""Of a run, whose mean losses are compared: ten points of the curve in each, so that the noise of a
mean is a third of a point's."""
LEAST_POINTS = 3 * PARTS
BEFORE = 5
"""Points before one whose median says where it should be."""
SPIKE_SDS = 6.0
"""So many standard deviations of the noise above that median are a spike: of 300 points without one
in 50,000 curves at most has a point so high."""
NORM_SPIKE = 10.0
"""A single gradient so many times the mean of the steps around it is a spike that the loss, a mean
over many steps, may not show."""
NORM_RANGE = 100.0
"""Gradients vanish below a hundredth of a run's median norm and explode above a hundred times."""
NO_CURVE = "the ledger has no step curve"


def _curves(trials: Sequence[TrialRecord]) -> list[TrialCurve]:
    """The whole curves of these trials; none where one lacks its own."""
    curves = [trial.curve for trial in trials]
    whole = [
        curve
        for curve in curves
        if curve is not None and not curve.missing_steps and len(curve.steps) >= LEAST_POINTS
    ]
    return whole if len(whole) == len(trials) else []


def _why_none(trials: Sequence[TrialRecord]) -> str:
    """Why `_curves` has none of these trials."""
    curves = [trial.curve for trial in trials]
    known = [curve for curve in curves if curve is not None]
    if len(known) < len(curves):
        return NO_CURVE
    if any(curve.missing_steps for curve in known):
        return "a step curve lacks its first steps"
    fewest = min(len(curve.steps) for curve in known)
    return f"too few points: a step curve has {fewest}, {LEAST_POINTS} are needed"


def point_noise(losses: Sequence[float]) -> float:
    """The standard deviation of a curve's points around its trend."""
    second = [
        abs(before - 2 * own + after)
        for before, own, after in zip(losses, losses[1:], losses[2:], strict=False)
    ]
    # The median of a normal's absolute value is 0.6745 sd; the sd of a second difference √6 times.
    return statistics.median(second) / 0.6745 / math.sqrt(6)


def _parts(losses: Sequence[float]) -> list[Sequence[float]]:
    """A curve in PARTS consecutive parts."""
    bounds = [place * len(losses) // PARTS for place in range(PARTS + 1)]
    return [losses[start:end] for start, end in itertools.pairwise(bounds)]


def falls_between_parts(curves: Sequence[TrialCurve]) -> list[Noisy]:
    """The change of the mean training loss from each tenth of the run to the next, over runs."""
    parts = [_parts(curve.train_loss_nats) for curve in curves]
    noise = [point_noise(curve.train_loss_nats) for curve in curves]
    # A median is worth about a third of as many squares.
    degrees = sum(len(curve.steps) for curve in curves) // 3
    found = []
    for place in range(PARTS - 1):
        pairs = [(own[place], own[place + 1]) for own in parts]
        change = statistics.fmean(statistics.fmean(b) - statistics.fmean(a) for a, b in pairs)
        variances = [
            sd**2 * (1 / len(a) + 1 / len(b)) for sd, (a, b) in zip(noise, pairs, strict=True)
        ]
        error = math.sqrt(math.fsum(variances)) / len(curves)
        found.append(Noisy(mean=change, error=error, degrees=degrees))
    return found


def monotone(evidence: Evidence) -> Finding:
    """Training loss falls from each tenth of the run to the next; from point to point it is
    noise."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    if not (curves := _curves(trials)):
        fell = sum(
            all(b.train_loss_nats < a.train_loss_nats for a, b in itertools.pairwise(trial.epochs))
            for trial in trials
        )
        return Finding(
            verdict=UNTOLD,
            measured=f"{_why_none(trials)}; in {fell} of {counted(len(trials), 'run')} the mean of "
            "each epoch is below that of the one before",
        )
    falls = falls_between_parts(curves)
    worst = max(falls, key=lambda fall: fall.mean)
    return Finding(
        claimed=all_of([fall.below(0) for fall in falls]),
        by_points=True,
        measured=f"the smallest fall from a tenth of the run to the next is "
        f"{worst.interval.text('{:+.3f}')} nats, at {falls.index(worst) + 1}0% of it "
        f"({counted(len(curves), 'run')})",
    )


def no_spikes(evidence: Evidence) -> Finding:
    """No point of a loss curve, and no gradient, far above those before it."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    if not (curves := _curves(trials)):
        return Finding(verdict=UNTOLD, measured=_why_none(trials))
    highest = max(map(highest_rise, curves))
    norm = max(
        largest / mean if mean else math.inf
        for curve in curves
        for largest, mean in zip(curve.grad_norm_max, curve.grad_norm, strict=True)
    )
    verdict = UNTOLD if norm > NORM_SPIKE else HOLDS
    return Finding(
        verdict=FAILS if highest > SPIKE_SDS else verdict,
        measured=f"no point of the loss is above the {BEFORE} before it by more than "
        f"{max(0.0, highest):.1f} times the noise of points; the largest gradient is {norm:.1f} "
        f"times the mean of the steps around it ({counted(len(curves), 'run')})",
    )


def highest_rise(curve: TrialCurve) -> float:
    """How far a point of the loss is above the median of those before it at most, in standard
    deviations of the points' noise."""
    losses = curve.train_loss_nats
    rise = max(
        own - statistics.median(losses[place : place + BEFORE])
        for place, own in enumerate(losses[BEFORE:])
    )
    noise = point_noise(losses)
    return rise / noise if noise else math.copysign(math.inf, rise) if rise else 0.0


def steady_gradients(evidence: Evidence) -> Finding:
    """Gradients neither vanish nor explode: the global norm, since those of single blocks are not
    recorded."""
    trials, extended = evidence.extended, evidence.lengths.extended
    diverged = evidence.diverged(epochs=extended)
    if not trials:
        verdict = FAILS if diverged else NOT_RUN
        return Finding(verdict=verdict, measured=f"{diverged} diverged" if diverged else "")
    curves = _curves(trials)
    if curves:
        lows = [min(c.grad_norm) / statistics.median(c.grad_norm) for c in curves]
        highs = [max(c.grad_norm_max) / statistics.median(c.grad_norm) for c in curves]
        text = f"{min(lows):.2f} to {max(highs):.1f} times a run's median"
    else:
        norms = [epoch.grad_norm_mean for trial in trials for epoch in trial.epochs]
        lows, highs = ([end / statistics.median(norms)] for end in (min(norms), max(norms)))
        text = f"means of epochs from {min(norms):.2f} to {max(norms):.2f}; {_why_none(trials)}"
    outside = min(lows) < 1 / NORM_RANGE or max(highs) > NORM_RANGE
    verdict = HOLDS if curves else UNTOLD
    return Finding(
        verdict=FAILS if diverged or outside else verdict,
        measured=f"global norms {text}; {diverged} of {counted(len(trials) + diverged, 'run')} "
        "diverged",
    )
