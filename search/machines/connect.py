"""The machines that `--address` names: this one, or a cluster's nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minigpt_search.search.machines.environment import prepare_for_cluster
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import Machines


@contextmanager
def machines_at(address: str | None) -> Iterator[Machines]:
    """This machine, or the cluster at `address`, joined meanwhile. Raises `UserError`."""
    if address is None:
        yield LocalMachines()
        return
    prepare_for_cluster()
    from minigpt_search.search.machines.cluster import join  # Ray reads the environment at import

    with join(address) as cluster:
        yield cluster
