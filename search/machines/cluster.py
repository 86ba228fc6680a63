"""A Ray cluster as the machines of a search: joined, its nodes looked at and watched.

The driver is one of the cluster's own processes, on a machine that belongs to it. The code goes
with the job; everything else is installed on the nodes, and must be what this machine has.
`search.machines.environment.prepare_for_cluster` must have been called before this is imported.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.package import package_to_send
from minigpt_search.data.ray.connection import check_reachable, first_line, joined
from minigpt_search.model.hardware.device import versions
from minigpt_search.search.machines.environment import WORKER_VARIABLES
from minigpt_search.search.machines.machines import (
    ClusterLost,
    Machines,
    Node,
    RunningRay,
    this_node,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.provenance import check_versions
from minigpt_search.search.storage.open import check_storage

P = ParamSpec("P")
T = TypeVar("T")
LOOK_SECONDS = 120.0
"""For a node to get the code and say what it is; the first task of a node takes some 5 s."""
MAX_FAILURES = 8
"""How often a trial whose process was lost is started again: on a cluster that is mostly its node's
end, and not the trial's doing."""
WATCH_EVERY_SECONDS = 5.0
CHECK_EVERY_SECONDS = 2.0
SILENT_SECONDS = 20.0
"""Without a head, until the search ends."""


class Cluster(Machines):
    """The nodes that may run trials. Use `join`."""

    max_failures = MAX_FAILURES

    def __init__(self, address: str, nodes: Mapping[str, Node]) -> None:
        """`nodes`: by Ray's ids."""
        super().__init__(list(nodes.values()))
        self.address, self._ids = address, list(nodes)

    def prepare(self, experiment: Experiment) -> None:
        """Nothing: it is joined already."""

    @contextmanager
    def ray(self, experiment: Experiment, folder: Path) -> Iterator[RunningRay]:
        scratch = Path(tempfile.mkdtemp(prefix="minigpt-"))
        try:
            with _watch_head(self.when_lost, scratch):
                yield ClusterRay(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """On the first node that has the best device. Raises `UserError` if it can't work."""
        best = self.device(None)
        chosen = next(n for n, node in enumerate(self.nodes) if node.device == best)
        task = _on_node(self._ids[chosen], function).remote(*args, **kwargs)
        try:
            return ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            raise UserError(f"--address: a node cannot work ({first_line(error)})") from None

    def check_storage(self, uri: str) -> None:
        for name, error in _ask(self._ids, storage_error, uri).items():
            if error:
                raise UserError(f"{error} (on node {name})")


class ClusterRay:
    """A cluster that is joined."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._own = ray.get_runtime_context().get_node_id()
        self._nodes = _workers()
        self._looked_at = time.monotonic()
        self._on_new_nodes: Callable[[Sequence[Node]], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into a file that nobody reads."""
        return {}

    def on_new_nodes(self, callback: Callable[[Sequence[Node]], None]) -> None:
        self._on_new_nodes = callback

    def find_lost(self) -> str | None:
        """Says which nodes have come and gone. Raises `ClusterLost`."""
        now = time.monotonic()
        if now - self._looked_at < WATCH_EVERY_SECONDS:
            return None
        self._looked_at = now
        if not any(node["NodeID"] == self._own and node["Alive"] for node in ray.nodes()):
            raise ClusterLost("this machine is no longer a node of the cluster")
        before, self._nodes = self._nodes.keys(), _workers()
        after = self._nodes.keys()
        for change, keys in [("left", before - after), ("joined", after - before)]:
            if keys:
                left = f"{counted(len(after), 'node')} now"
                tqdm.write(f"  {counted(len(keys), 'node')} {change}: {left}", file=sys.stderr)
        if before != after and self._on_new_nodes is not None:
            self._on_new_nodes(list(self._nodes.values()))
        return None


@contextmanager
def _watch_head(when_lost: Callable[[str], None], scratch: Path) -> Iterator[None]:
    """End this process, and remove `scratch`, when the head has gone: Ray's calls wait for it, and
    after 60 s end the process without a word. Nothing is lost: everything is written already."""
    head, over = ray.get_runtime_context().gcs_address, threading.Event()

    def watch() -> None:
        answered_at = time.monotonic()
        while not over.wait(CHECK_EVERY_SECONDS):
            try:
                check_reachable(head)
                answered_at = time.monotonic()
            except UserError:
                if time.monotonic() - answered_at > SILENT_SECONDS:
                    when_lost(f"The search can't go on: the cluster's head {head} does not answer")
                    shutil.rmtree(scratch, ignore_errors=True)
                    os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def join(address: str) -> Iterator[Cluster]:
    """The cluster at `address`, while it lasts.

    Raises:
        UserError: there is none, it doesn't let us in, no node of it has processors for trials, or
            one has other libraries than this machine.
    """
    with joined(address, [package_to_send()], WORKER_VARIABLES):
        yield Cluster(address, _look_at_nodes())


def _look_at_nodes() -> dict[str, Node]:
    known, nodes = _workers(), {}
    if not known:
        raise UserError("--address: the cluster has no node with a processor for trials")
    answers = _ask(list(known), describe)
    for (name, (found, node)), (key, own) in zip(answers.items(), known.items(), strict=True):
        check_versions(found, versions(), name)
        device = node.device if own.gpus else "cpu"
        nodes[key] = dataclasses.replace(node, cpus=own.cpus, gpus=own.gpus, device=device)
    return nodes


def describe() -> tuple[dict[str, str], Node]:
    """On a node: its libraries, and what it offers."""
    return versions(), this_node()


def storage_error(uri: str) -> str:
    """On a node: why it can't write to the storage; "" if it can."""
    try:
        check_storage(uri)
    except UserError as error:
        return str(error)
    return ""


def _workers() -> dict[str, Node]:
    """The nodes that trials may run on, by Ray's ids, with what Ray itself knows of them."""
    return {
        node["NodeID"]: Node(
            cpus=int(node["Resources"]["CPU"]),
            gpus=(gpus := int(node["Resources"].get("GPU", 0))),
            hardware={},
            device="cuda" if gpus else "cpu",
            precisions={},
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    }


def _on_node(key: str, function: Callable[..., Any]) -> Any:
    strategy = NodeAffinitySchedulingStrategy(key, soft=False)
    # No GPU of its own, and all of them in sight: WORKER_VARIABLES.
    task: Any = ray.remote(function)
    return task.options(num_cpus=0, max_retries=0, scheduling_strategy=strategy)


def _ask(keys: list[str], function: Callable[P, T], *args: P.args, **_: P.kwargs) -> dict[str, T]:
    """What each node answers, by its address."""
    names = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
    tasks = {key: _on_node(key, function).remote(*args) for key in keys}
    answers: dict[str, T] = {}
    for key, task in tasks.items():
        try:
            answers[f"{names[key]} ({key[:8]})"] = ray.get(task, timeout=LOOK_SECONDS)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
            reason = first_line(error)
            raise UserError(f"--address: node {names[key]} cannot work ({reason})") from None
    return answers
