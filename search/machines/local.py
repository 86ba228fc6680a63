"""This machine as the machines of a search, with a Ray of its own for each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from minigpt_search.search.machines.environment import prepare_environment
from minigpt_search.search.machines.machines import Machines, Node, RunningRay, this_node
from minigpt_search.search.records.experiment import Experiment

P = ParamSpec("P")
T = TypeVar("T")


class LocalMachines(Machines):
    """This machine alone, whose Ray the driver starts itself."""

    def __init__(self, nodes: Sequence[Node] | None = None) -> None:
        super().__init__(nodes or [this_node()])

    def prepare(self, experiment: Experiment) -> None:
        prepare_environment(experiment.machine.threads_per_trial)

    @contextmanager
    def ray(self, experiment: Experiment, folder: Path) -> Iterator[RunningRay]:
        # Ray reads the environment at import
        from minigpt_search.search.machines.local_ray import local_ray

        with local_ray(experiment, folder) as here:
            yield here

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    def check_storage(self, uri: str) -> None:
        """Nothing: the driver itself looked at it, on this machine."""
