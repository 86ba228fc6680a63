"""`--address ray://HOST:PORT`: the driver itself runs on the cluster's head, and this machine shows
what it prints.

A machine outside a cluster can't be driver of it: Ray's client speaks to one process at the head
alone. So the same command is started there, and its files live there and in the storage. Ctrl-C
ends it as it ends one here; if this machine or the connection goes, it ends too, and goes on with
`--resume`.
Source: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/ray-client.html
`search.environment.prepare_for_cluster` must have been called before this is imported.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from data.errors import UserError
from data.ray_connection import first_line, joined
from search.cluster import package_folders
from search.environment import WORKER_VARIABLES

HEAD = {"node:__internal_head__": 0.001}
"""A resource that only the head has."""
READ_SECONDS = 1.0
"""The longest that one question waits for something new."""
_PR_SET_PDEATHSIG = 1

Output = list[tuple[int, bytes]]
"""Pieces of what was printed, each with 1 for standard output or 2 for standard error."""


class Driver:
    """An actor on the head: `search/run.py` as a process of its own."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: of the command line, without its address."""
        import search
        from search.place import node_home

        address = ray.get_runtime_context().gcs_address
        script = Path(search.__path__[0]) / "run.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script), *words, "--address", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"MINIGPT_HOME": str(node_home() / "driver")},
            preexec_fn=_end_with_parent,
        )
        self.open = selectors.DefaultSelector()
        for stream, number in ((self.process.stdout, 1), (self.process.stderr, 2)):
            assert stream is not None
            self.open.register(stream, selectors.EVENT_READ, number)

    def read(self) -> tuple[Output, int | None]:
        """What is new, after a while, and the exit status when it has ended."""
        pieces: Output = []
        for key, _ in self.open.select(READ_SECONDS):
            piece = os.read(key.fd, 1 << 16)
            if piece:
                pieces.append((key.data, piece))
            else:
                self.open.unregister(key.fileobj)
        ended = None if self.open.get_map() else self.process.wait()
        return pieces, ended

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)


def _end_with_parent() -> None:
    """In the child: get SIGTERM when the actor is gone, as it is when the connection is (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def run_there(address: str, words: Sequence[str]) -> int:
    """Run the command of `words` on the cluster at `address`; its exit status.

    Raises:
        UserError: there is no such cluster, or it doesn't let us in.
    """
    if not _has_client():
        raise UserError(
            f"--address {address}: needs Ray's client: pip install 'ray[client]=={ray.__version__}'"
        )
    with joined(address, package_folders(), WORKER_VARIABLES):
        actor: Any = ray.remote(Driver)
        driver = actor.options(num_cpus=0, resources=HEAD).remote(list(words))
        return _show(driver, address)


def _show(driver: Any, address: str) -> int:
    pieces: Output
    status: int | None
    while True:
        try:
            pieces, status = ray.get(driver.read.remote())
        except KeyboardInterrupt:
            ray.get(driver.interrupt.remote())
            continue
        except (ray.exceptions.RayError, ConnectionError) as error:
            print(f"\nThe cluster at {address} is lost ({first_line(error)})", file=sys.stderr)
            return 1
        for number, piece in pieces:
            out = sys.stdout if number == 1 else sys.stderr
            out.buffer.write(piece)
            out.flush()
        if status is not None:
            return int(status)


def _has_client() -> bool:
    from importlib.util import find_spec

    return find_spec("grpc") is not None
