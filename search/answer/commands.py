"""Steps that a report advises, and their commands: quoted for a shell, with flags that read back
exactly."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.data.common.invocation import command_line
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.plan import PAIRED
from minigpt_search.search.results.winner import Winner
from minigpt_search.search.space.axes import AXES, OFFERED, Axis, Value
from minigpt_search.search.space.presets import PRESETS, RECIPE_FIELDS, recipe_words


@dataclass(frozen=True, kw_only=True)
class Step:
    """An experiment worth running."""

    why: str
    command: str


class Commands:
    """Commands about one experiment, quoted for a shell."""

    def __init__(self, experiment: Experiment, out: str | None) -> None:
        self.experiment, self.name, self.out = experiment, experiment.name, out

    def __call__(self, script: str, *words: str) -> str:
        return command_line(script, *words, out=self.out)

    def extend(self, *words: str) -> str:
        return self("search/run.py", "--extend", self.name, *words)

    def along(self, axis: Axis, words: Sequence[str], best: Winner) -> str:
        """A grid over one axis, with these `words`, at the winner's other values."""
        experiment = self.experiment
        words = [*words, *_only(experiment, best, axis.name)]
        if experiment.space.named_grid is None:
            return self.extend(*words)
        begin = ["--preset", experiment.preset, "--grid", axis.name, *words, *_same(experiment)]
        return self("search/run.py", *begin, "--warm-start", self.name)


def flag_words(axis: Axis, values: Sequence[Value]) -> list[str]:
    """The words of a command that give the axis these values, which read back exactly."""
    return axis.option(",".join(map(axis.exact, values))).split(" ", 1)


def corpus_words(experiment: Experiment) -> list[str]:
    """The flag that gives another experiment this one's corpus."""
    return [] if experiment.corpus.name == "builtin" else ["--corpus", experiment.corpus.name]


def _only(experiment: Experiment, best: Winner, *but: str) -> list[str]:
    """Flags that hold every axis of a grid at the winner's value."""
    return [
        word
        for name, value in best.configuration.values.items()
        if name not in but
        for word in flag_words(AXES[name], (value,))
    ]


def _same(experiment: Experiment) -> list[str]:
    """Flags that make another grid differ from this one in its axes alone."""
    preset, base = PRESETS[experiment.preset], experiment.space.base
    words = shlex.split(recipe_words(base.train, preset.train))
    for axis in OFFERED.values():
        value = axis.value(base)
        known = axis.name in experiment.space.axes or axis.name in RECIPE_FIELDS
        if not known and value not in (None, axis.value(preset)):
            words += flag_words(axis, (value,))
    words += corpus_words(experiment)
    if experiment.noise.seeds > 1:
        words += ["--seeds", str(experiment.noise.seeds)]
    if experiment.noise.base_seed != 0:
        words += ["--seed", str(experiment.noise.base_seed)]
    if experiment.noise.paired != PAIRED:
        words.append("--paired" if experiment.noise.paired else "--no-paired")
    if experiment.machine.device == "cpu" and experiment.machine.hardware["gpus"]:
        words += ["--device", "cpu"]
    return words


def more_samples(samples: int) -> int:
    """Half as many trials of a sampler again."""
    return samples + -(-samples // 2)
