"""A stage as Ray Data maps it over the shards, and the Ray that it runs on.

Ray is imported here and nowhere else in this room, and this file only for `--address`.
Source: https://docs.ray.io/en/latest/data/data.html
"""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from minigpt_search.data.common.errors import UserError, refusal
from minigpt_search.data.common.machine import usable_cores
from minigpt_search.data.common.package import package_to_send
from minigpt_search.data.common.versions import version_differences, versions
from minigpt_search.data.pipeline.cluster import LOCAL, Cluster
from minigpt_search.data.pipeline.shard_stages import ShardStage
from minigpt_search.data.ray.connection import first_line, joined
from minigpt_search.data.ray.own_ray import make_scratch, own_token, remove_scratches

NODE_CHECK_SECONDS = 120.0
"""The longest that a node may take to get the code and look at the folder. The first task of a node
takes some 5 s."""
MOST_TRIES = 10
"""The most tries of one shard, each ended by the loss of its process or node."""

NodeReport = tuple[dict[str, str], bool]
"""The versions of a node's libraries, and whether it sees the folder."""


@contextmanager
def ray_session(cluster: Cluster, workers: int | None) -> Iterator[None]:
    """Be connected to the cluster, with this package's code on its way to the nodes; or have a Ray
    of our own of `workers` processes.

    Raises:
        UserError: there is no such cluster, or it doesn't let us in.
    """
    data_log = logging.getLogger("ray.data")  # has handlers of its own, one writes to the screen
    data_log.handlers = [each for each in data_log.handlers if "Session" in type(each).__name__]
    ray.data.DataContext.get_current().enable_progress_bars = False
    if cluster.address != LOCAL:
        with joined(cluster.address, [package_to_send()], {}):
            yield
        return
    options: dict[str, Any] = {"num_cpus": workers or usable_cores(), "include_dashboard": False}
    owner = str(cluster.work.absolute())
    remove_scratches(owner, cluster.work)
    scratch = make_scratch(owner, cluster.work)
    try:
        with own_token(), joined(LOCAL, [package_to_send()], {}, _temp_dir=str(scratch), **options):
            yield
    finally:
        remove_scratches(owner, cluster.work)


def check_nodes(folder: Path) -> None:
    """Check that each node that may work has the same libraries and sees `folder`.

    Raises:
        UserError: naming the first that doesn't.
    """
    nodes = [each for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise UserError("--address: the cluster has no node with a processor to work with")
    mark = folder / f"seen-{uuid.uuid4().hex}"
    mark.touch()
    try:
        reports = {
            each["NodeManagerAddress"]: _inspect_node.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)
            ).remote(mark)
            for each in nodes
        }
        for node, report in reports.items():
            _check_report(node, folder, report)
    finally:
        mark.unlink(missing_ok=True)


def _check_report(node: str, folder: Path, report: ray.ObjectRef) -> None:
    try:
        found, sees = ray.get(report, timeout=NODE_CHECK_SECONDS)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        raise UserError(f"--address: node {node} cannot work ({first_line(error)})") from None
    if differ := _differences(found, versions()):
        raise UserError(f"--address: node {node} has {differ}: install the same on all nodes")
    if not sees:
        raise UserError(f"--work {folder.parent.parent}: node {node} does not see this folder")


def _differences(node: Mapping[str, str], here: Mapping[str, str]) -> str:
    """How a node's libraries differ from this machine's, in words; "" if they don't."""
    return ", ".join(
        f"{name} {found or 'missing'} where this machine has {wanted or 'none'}"
        for name, found, wanted in version_differences(node, here)
    )


@ray.remote(num_cpus=0, max_retries=0)
def _inspect_node(mark: Path) -> NodeReport:
    return versions(), mark.exists()


def map_shards(stage: ShardStage, numbers: Sequence[int], workers: int | None) -> Iterator[int]:
    """Run a stage on each shard, on any node; yields how many are done. What a lost node was at is
    given to another by Ray.

    Raises:
        UserError: a stage failed on a node for a reason that can be mended.
    """
    rows = [{"shard": number} for number in numbers]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        partial(run_on_shard, stage=stage, wanted=versions()),
        compute=ray.data.TaskPoolStrategy(size=workers),
        num_cpus=1,
    )
    for count, row in enumerate(dataset.iter_rows(), start=1):
        if row["error"]:
            raise UserError(row["error"])
        yield count


def run_on_shard(
    row: dict[str, Any], *, stage: ShardStage, wanted: dict[str, str]
) -> dict[str, Any]:
    """Run a stage on one shard, in a worker. Returns the shard's number, and why it could not be
    done, or ""."""
    number = int(row["shard"])
    error = ""
    try:
        # A node may have joined after the others were looked at.
        if differ := _differences(versions(), wanted):
            raise UserError(f"--address: node {socket.gethostname()} has {differ}")
        with _limited_tries(stage.folder / f"tries-{stage.name}-{number:05d}"):
            stage(number)
    except UserError as reason:
        error = str(reason)
    except OSError as reason:
        error = f"{refusal(reason)} (on node {socket.gethostname()})"
    return {"shard": number, "error": error}


@contextmanager
def _limited_tries(path: Path) -> Iterator[None]:
    """Count the tries of a task in the file `path`, and raise `UserError` when there are too many:
    Ray Data would start a task that kills its process each time again and again."""
    with path.open("ab") as file:
        file.write(b".")
    if path.stat().st_size > MOST_TRIES:
        raise UserError(
            f"{path.name}: its process was lost {MOST_TRIES} times, most likely for want of "
            "memory: give fewer --workers or nodes with more of it"
        )
    yield
    path.unlink(missing_ok=True)
