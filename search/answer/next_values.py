"""Which values of an axis are worth trying next: those beyond an edge at which the best lies, and
those between the best and what diverged or found too little memory. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Sequence

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.answer.commands import Commands, Step, flag_words, more_samples
from minigpt_search.search.results.barriers import CLOSEST, Barrier, short_of
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.winner import Winner
from minigpt_search.search.space.axes import AXES, CHOICES, Axis, Value


def between_those_tried(
    results: Results, best: Winner, fitted: float | None, ruled_out: bool, make: Commands
) -> list[Step]:
    """A step for the rate at which a curve is lowest, where it lies among those of a grid that
    trained: if the curve rules the winner's out, or else on the side of the winner where there is
    no barrier next to it, since it is likelier to be better than one between the two."""
    walls = [each for each in results.barriers if each.is_next and each.axis.name == "lr"]
    if fitted is None or not (walls or ruled_out) or results.experiment.plan.sampler is not None:
        return []
    axis, rate = AXES["lr"], float(f"{fitted:.2g}")
    tried = [each.values[axis.name] for each in results.configurations if each.complete]
    mine = best.configuration.values[axis.name]
    lies_inside = min(tried) < rate < max(tried) and not any(
        rate > mine if wall.upper else rate < mine for wall in walls
    )
    if not lies_inside or any(max(rate, v) / min(rate, v) < CLOSEST for v in tried):
        return []
    why = f"the fitted best rate, {axis.show(rate)}, lies between those tried: try it"
    return [Step(why=why, command=with_values(results, best, axis, [rate], make))]


def short_of_barriers(results: Results, best: Winner, make: Commands) -> list[Step]:
    """A step for each barrier next to the winner: values between the two."""
    found = []
    for barrier in (each for each in results.barriers if each.is_next):
        axis = barrier.axis
        tried = [each.values[axis.name] for each in results.configurations]
        limit = _limit(results, axis, barrier.upper) or barrier
        new = [v for v in limit.between(tried) if _is_possible(best, axis, v)]
        if not new:
            continue
        why = f"{barrier.text}: try between {axis.show(barrier.inner)} and that"
        command = with_values(results, best, axis, new, make)
        found.append(Step(why=why, command=command))
    return found


def _limit(results: Results, axis: Axis, upper: bool) -> Barrier | None:
    """What is known to lie beyond the winner on this side of the axis, if anything is."""
    sides = (each for each in results.limits if (each.axis, each.upper) == (axis, upper))
    return next(sides, None)


def beyond_edges(results: Results, best: Winner, make: Commands) -> list[Step]:
    """A step for each edge at which the winner lies: a value twice or half as large, or one short
    of what is known to have diverged elsewhere."""
    found = []
    for edge in results.edges:
        axis, values = edge.axis, results.experiment.space.axes[edge.axis.name]
        if edge.upper and best.configuration.diverged:
            continue  # with another seed it is too high already
        beyond = max(values) * 2 if edge.upper else min(values) / 2
        beyond = int(beyond) if axis.integer else beyond
        new, limit = [beyond], _limit(results, axis, edge.upper)
        if limit is not None and limit.stops(beyond):
            new = limit.between(values)
        new = [v for v in new if v not in values and _is_possible(best, axis, v)]
        if not new:
            continue  # as below one epoch
        end = "upper" if edge.upper else "lower"
        what = f"number of {axis.label}" if axis.label.endswith("s") else axis.label
        why = f"the best {what} is at the {end} edge of what was tried: go beyond it"
        found.append(Step(why=why, command=with_values(results, best, axis, new, make)))
    return found


def _is_possible(best: Winner, axis: Axis, value: Value) -> bool:
    """Whether the winner's configuration with this value is one."""
    try:
        best.configuration.config.replace(**axis.fields(value))
    except UserError:
        return False
    return True


def with_values(
    results: Results, best: Winner, axis: Axis | None, new: Sequence[Value], make: Commands
) -> str:
    """The search again with `new` values on the axis (None for a sampler that goes on), and without
    what failed on any: what lies beyond a barrier would fail in every new cell too."""
    experiment = results.experiment
    space, plan = experiment.space, experiment.plan
    words: list[str] = []
    for name, before in space.axes.items():
        each, walls = AXES[name], [b for b in results.limits if b.axis.name == name]
        is_range = plan.sampler is not None and space.kind(name) != CHOICES
        values = (
            short_of(space, name, walls)
            if is_range
            else tuple(value for value in before if not any(wall.stops(value) for wall in walls))
        )
        if each is axis:
            values = tuple(sorted({*values, *new}))
        if is_range:
            values = (values[0], values[-1])
        if values == before or (space.named_grid is not None and each is not axis):
            continue
        if is_range:
            bounds = ":".join(map(each.exact, values))
            words += ["--space", f"{name}={bounds}:{space.kind(name)}"]
        else:
            words += flag_words(each, values)
    if plan.sampler is not None:
        assert plan.samples is not None
        words += ["--trials", str(more_samples(plan.samples))]
    if axis is None or space.named_grid is None:
        return make.extend(*words)
    return make.along(axis, words, best)
