"""Where trials run: this machine, or with `--address` the nodes of a Ray cluster.

What a search is planned with: devices, precision, how many trials at a time. No Ray here.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.machine import usable_cores
from minigpt_search.model.hardware.device import (
    best_device,
    best_precision,
    hardware,
    refuse_tf32,
)
from minigpt_search.search.records.experiment import Experiment

P = ParamSpec("P")
T = TypeVar("T")
MAX_FAILURES = 2
"""How often a trial whose process was lost is started again."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a cluster, by what it has."""

    cpus: int
    """Processors and GPUs that trials may have."""
    gpus: int
    hardware: dict[str, Any]
    """As `model.hardware.device.hardware` has it."""
    device: str
    """The best it has: cpu or cuda."""
    precisions: dict[str, str]
    """`model.hardware.device.best_precision` of each of its devices."""


class RunningRay(Protocol):
    """A Ray that trials can be given to."""

    @property
    def scratch(self) -> Path:
        """A folder for what Tune writes of its own, on the driver's machine. It is not in the
        experiment's folder: none of it is read again, and where that can't be written to, Tune must
        live long enough to be told."""

    def find_lost(self) -> str | None:
        """The name of a needed process that is gone, if one is: then another Ray may do."""

    def on_new_nodes(self, callback: Callable[[Sequence[Node]], None]) -> None:
        """Have `callback` called with all nodes when others than before are there."""


class Machines(ABC):
    """The machines of a search: this one (`LocalMachines`) or a cluster's nodes (`Cluster`)."""

    address: str | None = None
    """Of the cluster, as it was given."""
    max_failures = MAX_FAILURES
    when_lost: Callable[[str], None] = staticmethod(print)
    """Says why the command ends when a cluster is lost; it must not use Ray."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    @abstractmethod
    def prepare(self, experiment: Experiment) -> None:
        """Set what Ray reads from the environment when it is imported."""

    @abstractmethod
    def ray(self, experiment: Experiment, folder: Path) -> AbstractContextManager[RunningRay]:
        """A Ray for the experiment in `folder`, whose lock must be held."""

    @abstractmethod
    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result on a machine where trials will run, to measure there."""

    @abstractmethod
    def check_storage(self, uri: str) -> None:
        """Raise `UserError` if a node can't write to it."""

    def failures_of(self, together: int) -> int:
        """How often the process of so many trials may be lost. Each of several may break its GPU
        and end a process so, after they did together; those not yet tried are to have their turn.
        """
        return self.max_failures + (together if together > 1 else 0)

    @property
    def hardware(self) -> dict[str, Any]:
        """What all machines together have, for `Experiment.hardware`."""
        if len(self.nodes) == 1:
            return self.nodes[0].hardware
        each = [node.hardware for node in self.nodes]
        kinds = Counter(one["processor"] for one in each)
        gpu_memory = [one["gpu_memory_gb"] for one in each if "gpu_memory_gb" in one]
        return {
            "processor": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
            "cores": sum(one["cores"] for one in each),
            "memory_gb": round(sum(one["memory_gb"] for one in each), 1),
            "gpus": [gpu for one in each for gpu in one["gpus"]],
            "nodes": len(each),
            **({"gpu_memory_gb": min(gpu_memory)} if gpu_memory else {}),
            **({"unused_gpus": self.unused_gpus} if self.unused_gpus else {}),
        }

    @property
    def unused_gpus(self) -> str:
        """Why there are GPUs that torch can't use; empty if there are none."""
        return "; ".join(
            dict.fromkeys(
                node.hardware["unused_gpus"]
                for node in self.nodes
                if "unused_gpus" in node.hardware
            )
        )

    def device(self, wanted: str | None) -> str:
        """The wanted device, or the best there is. Raises `UserError` if it is not there, and if
        this machine's environment makes it inexact."""
        best = "cuda" if any(node.device == "cuda" for node in self.nodes) else "cpu"
        if wanted == "cuda" and best != "cuda":
            where = "here" if self.address is None else "on the cluster's nodes"
            why = f" ({self.unused_gpus})" if self.unused_gpus else ""
            raise UserError(
                f"--device cuda: torch sees no CUDA device {where}{why}; use --device cpu"
            )
        chosen = wanted or best
        if chosen == "cuda" and self.address is None:
            refuse_tf32()
        return chosen

    def precision(self, device: str) -> str:
        """The best that all machines with this device have."""
        found = {node.precisions[device] for node in self.nodes if device in node.precisions}
        if len(found) == 1:
            return found.pop()
        return "fp16" if device == "cuda" else "fp32"

    def slots(self, threads: int, gpus: float) -> int:
        """How many trials of so many threads and GPUs (or a part of one) run at a time."""
        if gpus and self.address is None:  # a Ray of our own counts no processors
            threads = 0
        return slots_on(self.nodes, threads, gpus)

    def threads(self, at_a_time: int, gpus: float, most: int) -> int:
        """The most threads, up to `most`, of each of so many trials at a time; 1 at least."""
        for threads in range(most, 1, -1):
            if slots_on(self.nodes, threads, gpus) >= at_a_time:
                return threads
        return 1

    def fit(self, experiment: Experiment) -> Experiment:
        """One that was begun elsewhere, with as many trials at a time as find room here. Raises
        `UserError` if its device is not there, or no trial of it would ever start."""
        use = experiment.machine
        self.device(use.device)
        if self.hardware == {**self.hardware, **use.hardware}:  # an older one names less of it
            return experiment
        room = self.slots(use.threads_per_trial, use.gpus_per_trial)
        if room == 0:
            gpus = f" and {use.gpus_per_trial:g} GPUs" if use.device == "cuda" else ""
            where = "this machine" if self.address is None else "any node of the cluster"
            raise UserError(
                f"{experiment.name}: a trial has {use.threads_per_trial} processors{gpus}, more "
                f"than {where} has"
            )
        wanted = use.max_concurrent if use.is_capped else experiment.planned_trials
        return experiment.replace(max_concurrent=min(room, wanted), hardware=self.hardware)


def this_node() -> Node:
    """The machine that this runs on."""
    machine, device = hardware(), best_device()
    return Node(
        cpus=usable_cores(),
        gpus=len(machine["gpus"]),
        hardware=machine,
        device=device,
        precisions={kind: best_precision(kind) for kind in sorted({"cpu", device})},
    )


def slots_on(nodes: Iterable[Node], threads: int, gpus: float) -> int:
    """How many trials of so many threads (0: not counted) and GPUs find room on these nodes."""
    return sum(_slots(node, threads, gpus) for node in nodes)


def _slots(node: Node, threads: int, gpus: float) -> int:
    by_cpu = node.cpus // threads if threads else sys.maxsize
    if gpus == 0:
        return by_cpu
    per_gpu = int(1 / gpus + 1e-6) * node.gpus if gpus <= 1 else int(node.gpus // gpus)
    return min(by_cpu, per_gpu)


class ClusterLost(Exception):
    """The cluster doesn't answer any more."""


class RayNotStarted(Exception):
    """Ray does not come up on this machine."""


class RayLost(Exception):
    """A process that Ray needs on this machine is gone; with a new Ray the search can go on."""
