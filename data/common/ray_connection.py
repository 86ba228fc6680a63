"""Joining a Ray cluster: without a word on the screen, with the code on its way to the nodes, and
with the reason in one line where it can't be.

Source: https://docs.ray.io/en/latest/ray-core/handling-dependencies.html
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from minigpt_search.data.common.errors import UserError

CONNECT_SECONDS = 10.0
"""For a node of the cluster to take a connection."""


@contextmanager
def joined(
    address: str, packages: Sequence[Path], variables: Mapping[str, str], **options: Any
) -> Iterator[None]:
    """Be connected to the cluster at `address`.

    Args:
        packages: folders of Python packages that the workers shall have.
        variables: of the workers' environment.
        options: more of `ray.init`'s.

    Raises:
        UserError: there is no such cluster, or it doesn't let us in (which takes Ray 20 s to say).
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    silence_prints()
    check_reachable(address)
    try:
        try:
            options |= {"log_to_driver": False, "logging_level": logging.CRITICAL}
            options["runtime_env"] = {
                "py_modules": [str(package) for package in packages],
                "env_vars": dict(variables),
            }
            with _silence():
                ray.init(address=address, **options)
        except Exception as error:  # noqa: BLE001  of many kinds: no cluster, token, version
            raise UserError(
                f"--address {address}: cannot join ({first_line(error)}): is it a Ray "
                f"{ray.__version__} cluster, and its token the one in RAY_AUTH_TOKEN or "
                "~/.ray/auth_token here?"
            ) from None
        yield
    finally:
        ray.shutdown()


def silence_prints() -> None:
    """Take off the screen what Ray prints whatever it is told: forty lines of a lost node.

    There is no option for it. A release that lacks the function which is replaced here prints them.
    """
    worker = sys.modules.get("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None  # type: ignore[union-attr]


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on standard error: Ray's own threads write there, around Python's `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def check_reachable(address: str) -> None:
    """Raise `UserError` if nobody listens there: Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host:
        return  # "auto" or "local"
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster there ({first_line(error)})"
        ) from None


def first_line(error: BaseException) -> str:
    """What went wrong."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
