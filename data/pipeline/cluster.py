"""Where a preparation runs when it is not in processes of this machine alone: a Ray cluster.

Nothing here imports Ray, which takes a second: `data/pipeline/ray_tasks.py` does.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.ray.address import is_address, token_variables

LOCAL = "local"
"""The address of a Ray of our own, on this machine, for as long as the preparation lasts."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray cluster, and the folder through which its nodes exchange shards of text."""

    address: str
    """One of `auto` (the cluster that this machine belongs to), `HOST:PORT` and `local`."""
    work: Path
    """A folder that is the same on every node. It takes up to about four times the text's size."""
    shard_bytes: int = 16_000_000
    """The text in a shard, the unit of work: some seconds of it, and some 200 MB of a worker's
    memory. The corpus does not depend on it."""

    def __post_init__(self) -> None:
        if self.address.startswith("ray://"):
            raise UserError(
                f"--address {self.address}: a preparation reads its sources here: run it on a "
                "machine of the cluster with `--address auto`"
            )
        if self.address != LOCAL and not is_address(self.address):
            raise UserError(f"--address {self.address}: give auto, HOST:PORT or local")

    def folder(self, name: str) -> Path:
        """The folder with the shards of the corpus `name`."""
        return self.work / f"{name}.shards"

    def remove_shards(self, name: str) -> None:
        """Remove the shards of the corpus `name`."""
        shutil.rmtree(self.folder(name), ignore_errors=True)
        with suppress(OSError):
            self.work.rmdir()  # if nothing else is in it


def prepare_environment(cluster: Cluster) -> None:
    """Set the environment variables that Ray reads when it is imported."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0"}
    if cluster.address == LOCAL:
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on loopback only
    else:
        wanted |= token_variables()
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def cluster_of(address: str | None, work: str | None, root: Path) -> Cluster | None:
    """The cluster that `--address` and `--work` ask for, if they do.

    Raises:
        UserError: one without the other; `--address local` needs no `--work`.
    """
    if address is None:
        if work is not None:
            raise UserError(f"--work {work}: only with --address, for example --address local")
        return None
    if work is None and address != LOCAL:
        raise UserError(f"--address {address}: needs --work, a folder that all nodes see")
    folder = root / "work" if work is None else Path(work).expanduser().absolute()
    return Cluster(address=address, work=folder)
