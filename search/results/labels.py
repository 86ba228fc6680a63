"""How trials and configurations are called in tables, figures and on the screen."""

from __future__ import annotations

from minigpt_search.model.config import RunConfig
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.axes import AXES, Value, configuration_label


def _seed(experiment: Experiment, replicate: int) -> str:
    """Those of `--confirm` are fresh ones."""
    if replicate >= experiment.noise.seeds:
        return f", fresh seed {replicate - experiment.noise.seeds + 1}"
    return f", seed {replicate + 1}" if experiment.noise.seeds > 1 else ""


def varies_one_axis(experiment: Experiment) -> bool:
    """Whether the grid varies one axis at a time around its base, as `--grid claims` does."""
    if experiment.space.cells is None:
        return False
    base = {name: AXES[name].value(experiment.space.base) for name in experiment.space.axes}
    near = [sum(cell[name] != base[name] for name in base) <= 1 for cell in experiment.space.cells]
    return sum(near) > len(near) / 2


def short_label(experiment: Experiment, config: RunConfig) -> str:
    """The cell as tables and legends call it; around a base, only what sets it apart."""
    names = list(experiment.space.axes)
    if not varies_one_axis(experiment):
        return configuration_label(config, names)
    apart = [n for n in names if AXES[n].value(config) != AXES[n].value(experiment.space.base)]
    return configuration_label(config, apart) if apart else "baseline"


def trial_label(experiment: Experiment, config: RunConfig, replicate: int) -> str:
    """A trial wherever it is named, on the screen, in tables, figures and errors: `short_label`,
    with the seed's number where there are several: `lr=0.001, seed 2`; `lr=0.001, fresh seed 1`."""
    return short_label(experiment, config) + _seed(experiment, replicate)


def axis_values(experiment: Experiment, config: RunConfig) -> dict[str, Value]:
    """The value of each searched axis: what a label packs into words, for programs to read."""
    return {name: AXES[name].value(config) for name in experiment.space.axes}
