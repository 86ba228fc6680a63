"""Which cells of a grid are left out, and what a sampler never suggests: configurations whose heads
don't divide their width, and those whose counted cost is above `--max-cost`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.axes import AXES, CHOICES, Value, apply_axes, grid_cells
from minigpt_search.search.space.objective import counted_cost, parse_max_cost

ENUMERATED = 50_000
"""Configurations of a sampler's space that are looked at one by one; of a larger one some are
drawn."""


def allowed(experiment: Experiment) -> Callable[[Mapping[str, Value]], bool]:
    """Whether a sampler may suggest these values of the axes."""
    space, limit = experiment.space, parse_max_cost(experiment.plan.max_cost)

    def allow(values: Mapping[str, Value]) -> bool:
        config = space.config(values)
        return config is not None and (
            limit is None or limit.allows(config, experiment.corpus.manifest)
        )

    return allow


def limited(experiment: Experiment) -> Experiment:
    """The experiment with its possible `cells`, on its corpus. Raises `UserError` where there is
    no possible configuration, or for a sampler fewer than it is to try."""
    if experiment.plan.sampler is not None:
        _check_enough(experiment)
        return experiment
    if experiment.space.named_grid is not None:
        return experiment
    whole, space = grid_cells(experiment.space.axes), experiment.space
    divided = [cell for cell in whole if space.config(cell) is not None]
    if len(divided) < len(whole) and not {"n_heads", "embed_dim"} <= set(experiment.space.axes):
        return experiment.replace(cells=None)  # refused with every other mistake
    if not divided:
        return experiment.replace(cells=None)
    cells = list(filter(allowed(experiment), divided))
    if not cells:
        raise _over_cost_limit(experiment, divided)
    return experiment.replace(cells=None if len(cells) == len(whole) else tuple(cells))


def left_out_lines(experiment: Experiment) -> list[str]:
    """How many cells of the grid are left out and why; nothing where none is."""
    if experiment.space.cells is None or experiment.space.named_grid is not None:
        return []
    whole = grid_cells(experiment.space.axes)
    undivided = sum(experiment.space.config(cell) is None for cell in whole)
    dear = len(whole) - undivided - len(experiment.space.cells)
    reasons = [f"{undivided} whose heads don't divide the width"] if undivided else []
    reasons += [f"{dear} that cost more than {experiment.plan.max_cost}"] if dear else []
    return [f"Left out   {undivided + dear} of {len(whole)} cells: {', '.join(reasons)}"]


def drawn(experiment: Experiment, count: int) -> list[dict[str, Value]]:
    """Up to so many configurations that a sampler may suggest, drawn at random."""
    allow, chance, space = allowed(experiment), random.Random(0), experiment.space
    made = (space.values([chance.random() for _ in space.axes]) for _ in range(50 * count))
    return list(itertools.islice(filter(allow, made), count))


def corners(experiment: Experiment) -> list[dict[str, Value]]:
    """The least and the greatest configuration that a sampler may suggest: of every range the same
    end, of choices what goes with it and makes the smallest and the largest model."""
    found = []
    for share in (0.0, 1.0):
        of_share = list(filter(allowed(experiment), with_range_ends(experiment, share)))
        of_share.sort(key=lambda values: _size(experiment, values))
        found += of_share[:1] if share == 0 else of_share[-1:]
    return found


def with_range_ends(experiment: Experiment, share: float) -> Iterator[dict[str, Value]]:
    """All that goes with one end of every range: the low ones for a `share` of 0, the high ones
    for 1. They may be impossible or cost too much."""
    space = experiment.space
    lists = [
        values if space.kind(name) == CHOICES else [space.value(name, share)]
        for name, values in space.axes.items()
    ]
    for cell in itertools.islice(itertools.product(*lists), ENUMERATED):
        yield dict(zip(space.axes, cell, strict=True))


def _size(experiment: Experiment, values: Mapping[str, Value]) -> tuple[float, float]:
    config = apply_axes(experiment.space.base, values)
    flop = counted_cost(config, "flop", experiment.corpus.manifest)
    return counted_cost(config, "params", experiment.corpus.manifest), flop


def _check_enough(experiment: Experiment) -> None:
    space, trials = experiment.space, experiment.plan.samples
    assert trials is not None
    if experiment.plan.budget_seconds is not None:
        trials = 1  # then `samples` are the most that are tried
    if space.size() <= ENUMERATED:
        every = list(space.every())
        there_are = sum(map(allowed(experiment), every))
        if there_are == 0:
            raise _none_at_all(experiment, every)
        if trials > there_are:
            raise UserError(
                f"--trials {trials}: there are only {there_are} configurations to try"
                + (
                    f" within --max-cost {experiment.plan.max_cost}"
                    if experiment.plan.max_cost
                    else ""
                )
            )
        return
    cheapest = list(with_range_ends(experiment, 0.0))
    if not any(map(allowed(experiment), cheapest)) and not drawn(experiment, 1):
        raise _none_at_all(experiment, cheapest)


def _none_at_all(experiment: Experiment, cells: Iterable[Mapping[str, Value]]) -> UserError:
    possible = [cell for cell in cells if experiment.space.config(cell) is not None]
    if possible:
        return _over_cost_limit(experiment, possible)
    return UserError("n_heads and embed_dim: no number of heads divides any width; give others")


def _over_cost_limit(experiment: Experiment, possible: Iterable[Mapping[str, Value]]) -> UserError:
    limit = parse_max_cost(experiment.plan.max_cost)
    assert limit is not None
    costs = [
        counted_cost(
            apply_axes(experiment.space.base, cell), limit.unit, experiment.corpus.manifest
        )
        for cell in possible
    ]
    names = ", ".join(AXES[name].name for name in experiment.space.axes)
    return UserError(
        f"--max-cost {limit.text}: every configuration of {names or 'the base'} costs more; the "
        f"cheapest {min(costs):.3g} {limit.unit}"
    )
