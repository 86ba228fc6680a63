"""From an experiment to its trials: which configurations, which seeds, and whether they can run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig, trial_id
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.plan import Noise
from minigpt_search.search.space.axes import Value, apply_axes, grid_cells

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run of a plan."""

    values: dict[str, Value]
    """The axes' values."""
    replicate: int
    config: RunConfig
    """Complete, with the replicate's own seed."""
    trial_id: str


def make_trial(experiment: Experiment, values: Mapping[str, Value], replicate: int) -> Trial:
    """The trial of one cell. Raises `UserError` if the values make no valid configuration."""
    config = apply_axes(experiment.space.base, values)
    is_rung = experiment.ladder is not None and experiment.ladder.trunks
    seed = replicate_seed(config, experiment.noise, replicate, of_any_text=is_rung)
    config = config.replace(seed=seed)
    return Trial(
        values=dict(values),
        replicate=replicate,
        config=config,
        trial_id=trial_id(config, experiment.corpus.content_hash),
    )


def trials_of(experiment: Experiment, tune_config: Mapping[str, Any]) -> list[Trial]:
    """The trials behind a configuration of Tune's: the cells of a grid's pack, or the replicates of
    a sampler's values."""
    if "pack" in tune_config:
        return [make_trial(experiment, c["values"], c["replicate"]) for c in tune_config["pack"]]
    replicates = range(experiment.noise.seeds)
    return [make_trial(experiment, tune_config["values"], replicate) for replicate in replicates]


class ReportedTrials:
    """Which trial a report to Tune is of; each is made once, not at every report."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.known: dict[str, Trial] = {}

    def __call__(self, tune_config: Mapping[str, Any], result: Mapping[str, Any]) -> Trial:
        """The one of `trials_of(tune_config)` that `result` is of."""
        if result["member"] not in self.known:
            trials = trials_of(self.experiment, tune_config)
            self.known |= {trial.trial_id: trial for trial in trials}
        return self.known[result["member"]]

    def forget(self, trial: Trial) -> None:
        """Drop a trial that has ended: of thousands those that run are kept."""
        self.known.pop(trial.trial_id, None)


def replicate_seed(
    config: RunConfig, noise: Noise, replicate: int, *, of_any_text: bool = False
) -> int:
    """A seed of 31 bits. In a paired design it is that of every configuration's replicate. Else it
    depends on the configuration, so that no two cells share their luck, but those of one trunk, and
    those under two parametrizations, which are to be compared. `of_any_text`: those of a ladder
    that differ in their tokens an epoch are of one trunk too."""
    if noise.paired:
        return _hashed(["paired", noise.base_seed, replicate])
    fields = config.replace(seed=0, parametrization="standard").identity()
    if (
        config.train.schedule == "wsd"
    ):  # runs of every length begin as one (`model/training/trunk.py`)
        del fields["train"]["epochs"]
    if of_any_text:
        del fields["train"]["tokens_per_epoch"]
    return _hashed([fields, noise.base_seed, replicate])


def _hashed(parts: list[Any]) -> int:
    text = json.dumps(parts, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def grid_trials(experiment: Experiment) -> list[Trial]:
    """All trials of a grid: its own cells, or all in the axes' order; replicates innermost.

    Raises `UserError` with every impossible cell, not only the first.
    """
    cells = [
        (values, replicate)
        for values in experiment.space.cells or grid_cells(experiment.space.axes)
        for replicate in range(experiment.noise.seeds)
    ]
    return collect(lambda cell: make_trial(experiment, *cell), cells)


def collect(make: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`make` of each item. Raises one `UserError`, one line, with all different complaints."""
    results, complaints = [], []
    for item in items:
        try:
            results.append(make(item))
        except UserError as error:
            if str(error) not in complaints:
                complaints.append(str(error))
    if complaints:
        raise UserError("; ".join(complaints))
    return results
