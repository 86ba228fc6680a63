"""What to run after a ladder: what is missing, the target, its neighbours, another rung."""

from __future__ import annotations

import shlex

from minigpt_search.search.answer.commands import Commands, Step, corpus_words, flag_words
from minigpt_search.search.answer.ladder_outcome import (
    LongRuns,
    Outcome,
    at_target,
)
from minigpt_search.search.ladder.layout import next_rungs
from minigpt_search.search.ladder.prediction import Prediction
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES, OFFERED
from minigpt_search.search.space.ladder_spec import (
    LATTICE,
    SPACING,
    is_open,
    lattice_place,
    lattice_rate,
    own_recipe,
)
from minigpt_search.search.space.presets import PRESETS, RECIPE_FIELDS, recipe_words


def ladder_steps(results: Results, out: str | None) -> list[Step]:
    """What to run next: what is missing, the target, or another rung."""
    experiment, found = results.experiment, results.ladder_prediction
    make = Commands(experiment, out)
    if found is None and not results.missing_trials:
        begin = ["--ladder", "--target", experiment.preset, *_own_words(experiment)]
        why = "begin with longer rungs: too few rates came to a result"
        return [Step(why=why, command=make("search/run.py", *begin, "--budget", "3h"))]
    if results.missing_trials or found is None:
        return [Step(why="finish the ladder", command=make("search/run.py", "--resume", make.name))]
    steps = []
    train = Step(
        why="train the target at that rate and a rival: only that tells whether the prediction "
        "holds",
        command=make("search/run.py", "--resume", make.name, "--verify"),
    )
    if next_rungs(experiment) != (experiment.ladder and experiment.ladder.rungs):
        more = next_rungs(experiment)[-1] * experiment.space.base.train.epochs
        why = f"add a rung of {more:,} tokens, which takes the target nearer"
        steps = [Step(why=why, command=make.extend())]
    came = at_target(results)
    if came is not None and came.best is None:
        highest = lattice_place(min(came.diverged))
        places = (highest - SPACING * n for n in (3, 2, 1))
        lower = [lattice_rate(place) for place in places if place in LATTICE]
        why = "no rate trained at the target came to a result: search it below them"
        return [Step(why=why, command=make("search/run.py", *target_words(experiment, *lower)))]
    if came is not None:
        keep = Step(
            why="the target is trained: train the best again and keep its model",
            command=make("search/rerun.py", make.name),
        )
        return [*_neighbours(experiment, came, make), keep]
    if found.refused:
        words = target_words(experiment, *_over_the_interval(found))
        part = "a part of " if any(is_open(found.rate.low, found.rate.high)) else ""
        why = f"search the target over {part}the interval"
        return [*steps, Step(why=why, command=make("search/run.py", *words))]
    return [train, *steps]


def _over_the_interval(found: Prediction) -> list[float]:
    """Rates at which to search a target without a point: the interval's ends and its middle; where
    an end bounds nothing, a factor of 4 from the middle."""
    rate, middle = found.rate, lattice_place(found.rate.rate)
    below, above = is_open(rate.low, rate.high)
    low = middle - 2 * SPACING if below else lattice_place(rate.low)
    high = middle + 2 * SPACING if above else lattice_place(rate.high)
    places = {low, middle, high}
    longest = [each for each in found.checks if each.tokens == found.largest]
    places |= {lattice_place(each.found_rate) for each in longest if not each.rate_held}
    if found.lost is not None:  # what diverged on a rung would on the target
        most = lattice_place(found.lost[0]) - SPACING
        places = {min(place, most) for place in places}
    if len(places) < 3:
        places |= {min(places) - SPACING}
    return sorted({lattice_rate(place) for place in places if place in LATTICE})


def _neighbours(experiment: Experiment, came: LongRuns, make: Commands) -> list[Step]:
    """A search of the target beside its lowest, where the ladder's runs leave open which way the
    best rate lies."""
    decided = isinstance(came, Outcome) and came.rate_held is not None
    if came.best is None or not came.is_open or decided:
        return []
    place = lattice_place(came.best)
    beside = {lattice_rate(p) for p in (place - SPACING, place + SPACING) if p in LATTICE}
    rates = sorted(beside - {*came.losses, *came.diverged})
    why = "the lowest lies at an end of the rates trained: a search beside it tells which way on"
    words = target_words(experiment, *rates)
    return [Step(why=why, command=make("search/run.py", *words))] if rates else []


def target_words(experiment: Experiment, *rates: float) -> list[str]:
    """The words of `search/run.py` that train the target at these rates, in its own recipe."""
    return ["--preset", experiment.preset, *flag_words(AXES["lr"], rates), *_own_words(experiment)]


def _own_words(experiment: Experiment) -> list[str]:
    """The words of the target's recipe, where it is not the preset's, and of its corpus."""
    spec, base = experiment.ladder, experiment.space.base
    assert spec is not None
    preset = PRESETS[experiment.preset]
    own = own_recipe(base, spec)
    if spec.whole:
        own = own.replace(tokens_per_epoch=preset.train.tokens_per_epoch)
    words = shlex.split(recipe_words(own.train, preset.train))
    for axis in OFFERED.values():
        value = axis.value(own)
        if axis.name not in ("lr", *RECIPE_FIELDS) and value not in (None, axis.value(preset)):
            words += flag_words(axis, (value,))
    return words + corpus_words(experiment)
