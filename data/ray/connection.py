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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from minigpt_search.data.common.errors import UserError

CONNECT_SECONDS = 10.0
"""The longest that a node of the cluster may take to accept a connection."""


@contextmanager
def outside_working_folder() -> Iterator[None]:
    """Be at the file system's root for the block, in which Ray is started or connected to.

    Ray (2.60) puts the driver's working folder of that moment in front of its workers' import path,
    where a `statistics.py` of the user's own would take the place of Python's.
    """
    before = None
    with suppress(FileNotFoundError):  # it is gone
        before = os.getcwd()
    os.chdir("/")
    try:
        yield
    finally:
        if before is not None:
            os.chdir(before)


@contextmanager
def joined(
    address: str, packages: Sequence[Path], variables: Mapping[str, str], **options: Any
) -> Iterator[None]:
    """Be connected to the cluster at `address` for the block.

    Args:
        address: `auto`, `local` or HOST:PORT.
        packages: folders of Python packages that the workers shall have.
        variables: environment variables that the workers shall have.
        options: further arguments of `ray.init`.

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
            with _silence(), outside_working_folder():
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
    """Keep standard error empty for the block. Ray's own threads write to the file descriptor, past
    Python's `sys.stderr`."""
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
    """Raise `UserError` if nobody listens at `address`: Ray itself would try for a minute."""
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
    """The first line of an error's text, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
