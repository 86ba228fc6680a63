"""Where training stops working: the values of an axis from which on every trial diverged or found
too little memory. A better value may lie between the best and such a barrier, none beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.model.records import DIVERGED, STOPPED
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import FailedPoint
from minigpt_search.search.results.configurations import Configuration
from minigpt_search.search.space.axes import AXES, LINEAR, LOG, Axis, Value
from minigpt_search.search.space.space import Space

MEMORY = "found too little memory"
CLOSEST = 1.1
"""Two values of a logarithmic axis that are closer than this factor have none worth trying between
them."""
FAR = 4.0
"""Between values further apart than this factor two are worth trying; else one."""


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """The first value of an axis, away from the winner's, from which on nothing trained."""

    axis: Axis
    value: Value
    """The first that failed."""
    inner: Value
    """The last before it that trained."""
    upper: bool
    """Whether it lies above the winner's value."""
    reason: str
    """DIVERGED or MEMORY."""
    is_next: bool
    """Whether nothing that trained lies between it and the winner."""

    @property
    def text(self) -> str:
        """`lr=1 and above diverged`."""
        beyond = "above" if self.upper else "below"
        return f"{self.axis.name}={self.axis.show(self.value)} and {beyond} {self.reason}"

    def stops(self, value: Value) -> bool:
        """Whether the value is the barrier's or lies beyond it."""
        return bool(value >= self.value if self.upper else value <= self.value)

    def between(self, tried: Sequence[Value]) -> list[Value]:
        """Values to try between the last that trained and the barrier, none of them in `tried`."""
        axis, (low, high) = self.axis, sorted((self.inner, self.value))
        log = axis.log and low > 0
        if log and not axis.integer and high / low < CLOSEST:
            return []
        shares = (1 / 3, 2 / 3) if log and high / low > FAR else (0.5,)
        values = (axis.between(share, low, high, log=log) for share in shares)
        rounded = [value if axis.integer else float(f"{value:.2g}") for value in values]
        if any(not low < value < high for value in rounded) and not axis.integer:
            rounded = [float(f"{axis.between(0.5, low, high, log=log):.4g}")]
        return [v for v in dict.fromkeys(rounded) if low < v < high and v not in tried]


def reason_of(record: TrialRecord) -> str | None:
    """Why the record's configuration is no place to try again: DIVERGED, MEMORY, or None."""
    if record.status == DIVERGED:
        return DIVERGED
    return MEMORY if record.is_out_of_memory else None


def failed_points(
    experiment: Experiment, found: Sequence[Configuration], warm: bool = False
) -> list[FailedPoint]:
    """The configurations that diverged with a seed or found too little memory; also those that are
    known of the experiment that this one extends, and if `warm` of those it was warm-started
    from."""
    points = [point for point in experiment.reuse.failed_points if warm or not point.warm]
    for each in found:
        reasons = [reason for trial in each.trials if (reason := reason_of(trial)) is not None]
        points += [FailedPoint(values=each.values, reason=reasons[0])] if reasons else []
    return points


def barriers(
    experiment: Experiment,
    best: Configuration,
    found: Sequence[Configuration],
    warm: bool = False,
) -> list[Barrier]:
    """The barriers around the winner `best`, those of the learning rate first.

    With `warm` also those that are known from `--warm-start` alone: no value is worth trying at or
    beyond one, but nothing says that training works up to there.

    On a grid they are of the row that differs from the winner on one axis alone. A sampler's trials
    differ on all axes, so a barrier has every trial beyond it against it, and what one axis
    explains is not laid to the next: of a divergence the rate is the likeliest cause.
    """
    left = failed_points(experiment, found, warm)
    names = [name for name in best.values if not AXES[name].categorical]
    trained, made = _trained(found), list[Barrier]()
    for name in sorted(names, key=lambda name: name != "lr"):
        for upper in (True, False):
            barrier = _barrier(experiment, name, upper, best, left, trained)
            if barrier is None:
                continue
            made.append(barrier)
            if experiment.plan.sampler is not None:
                left = [p for p in left if not barrier.stops(p.values[name])]
    return made


def _barrier(
    experiment: Experiment,
    name: str,
    upper: bool,
    best: Configuration,
    failed: Sequence[FailedPoint],
    trained: Sequence[Configuration],
) -> Barrier | None:
    mine, sign = best.values[name], 1 if upper else -1

    def in_row(values: dict[str, Value]) -> bool:
        others = (other for other in values if other != name)
        return experiment.plan.sampler is not None or all(
            values[other] == best.values[other] for other in others
        )

    passed = [each.values[name] for each in trained if in_row(each.values)]
    inner = max([mine, *(v for v in passed)], key=lambda value: sign * value)
    beyond = [
        point
        for point in failed
        if in_row(point.values)
        and sign * point.values[name] > sign * inner
        and not (name == "lr" and point.reason == MEMORY)  # a rate takes no memory
    ]
    if not beyond:
        return None
    first = min(beyond, key=lambda point: sign * point.values[name])
    return Barrier(
        axis=AXES[name],
        value=first.values[name],
        inner=inner,
        upper=upper,
        reason=first.reason,
        is_next=inner == mine,
    )


def _trained(found: Sequence[Configuration]) -> list[Configuration]:
    """Those that trained with every seed, to the end or until they were stopped."""
    return [
        each
        for each in found
        if not any(reason_of(trial) for trial in each.trials)
        and (each.complete or any(trial.status == STOPPED for trial in each.trials))
    ]


def short_of(space: Space, name: str, walls: Sequence[Barrier]) -> tuple[Value, Value]:
    """A sampler's range of the axis, ended before these barriers."""
    axis, (low, high) = AXES[name], space.axes[name]
    for wall in walls:
        if axis.integer:
            step = space.step(name) if space.kind(name) == LINEAR else 1
            end = wall.value - step if wall.upper else wall.value + step
        else:
            log = space.kind(name) == LOG
            inner, outer = sorted((wall.inner, wall.value))
            end = axis.between(0.9 if wall.upper else 0.1, inner, outer, log)
            short = float(f"{end:.2g}")
            end = short if inner < short < outer else end
        low, high = (low, min(high, end)) if wall.upper else (max(low, end), high)
    return low, high


def diverged_inside(best: Configuration, found: Sequence[Configuration]) -> list[Configuration]:
    """The configurations that diverged though another trained that lies as far from the winner or
    further, in the same direction on every axis; the winner itself where it did with a seed. The
    others lie at an end of what was tried, where a search is to find that training breaks down."""
    trained = _trained(found)
    return [
        each
        for each in found
        if each.diverged
        and (each.config == best.config or any(_is_beyond(other, each, best) for other in trained))
    ]


def _is_beyond(other: Configuration, one: Configuration, best: Configuration) -> bool:
    """Whether `other` is at least as far from `best` as `one` is, in its direction."""
    for name, value in one.values.items():
        mine, its = best.values[name], other.values[name]
        if value == mine or AXES[name].categorical:
            if its != value:
                return False
        elif (its < value) if value > mine else (its > value):
            return False
    return True
