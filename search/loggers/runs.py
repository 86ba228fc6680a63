"""What a logger's library is told of an experiment and of its trials, whichever library it is."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PROJECT = "minigpt-search"
"""The project that the experiments' runs are in, where the library has projects."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The experiment that the runs are of."""

    experiment: str
    """Its name, which is the runs' group."""
    created_at: str
    """UTC, ISO 8601: with the name it tells experiments apart."""
    folder: Path
    """The experiment's folder."""


@dataclass(frozen=True, kw_only=True)
class LoggedTrial:
    """A trial as a run."""

    trial_id: str
    name: str
    """As the trial is called on the screen: its values, its seed."""
    config: dict[str, Any]
    """The whole configuration, flat: numbers, words, switches."""
    tags: dict[str, str]
    """What runs can be filtered by, apart from the status."""


class Runs(Protocol):
    """A library with its runs. Whatever it raises ends its own process and nothing else.

    A run may be begun more than once, by each driver that the experiment has: the second time it
    goes on.
    """

    def begin(self, trial: LoggedTrial) -> None:
        """Make the trial's run, or go on with it."""

    def log(self, trial_id: str, step: int, values: dict[str, float]) -> None:
        """Add a point to each of the curves, at `step` optimizer steps."""

    def end(self, trial_id: str, status: str, values: dict[str, Any]) -> None:
        """End the run with the trial's status, one of `model.records.STATUSES`, and its results."""

    def close(self) -> None:
        """Leave the runs that have not ended: their trials go on when the search is resumed."""


def runs_of(logger: str, destination: Destination) -> Runs:
    """The runs of the logger of that name, one of `search.records.plan.LOGGERS`."""
    module = importlib.import_module(f"minigpt_search.search.loggers.{logger}_runs")
    runs: Runs = module.make_runs(destination)
    return runs


def where_to_look(logger: str, folder: Path) -> str:
    """How the runs of the experiment in `folder` are seen: a command, or where they are."""
    module = importlib.import_module(f"minigpt_search.search.loggers.{logger}_runs")
    said: str = module.where_to_look(folder)
    return said
