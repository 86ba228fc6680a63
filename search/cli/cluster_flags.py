"""The flags of what is past one machine."""

from __future__ import annotations

import argparse

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.ray_address import is_address
from minigpt_search.search.storage.uri import check_uri, is_uri


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("past one machine")
    group.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of a Ray cluster that trains: auto or HOST:PORT; with --storage",
    )
    group.add_argument(
        "--storage",
        metavar="URI",
        help="where the experiment lives: a shared folder's absolute path, s3://BUCKET/FOLDER, "
        "gs://... (in --out alone)",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what is no storage, or what doesn't go with one."""
    if args.resume is not None and is_uri(args.resume) and args.storage is not None:
        raise UserError(f"--resume {args.resume}: has the storage in it; leave out --storage")
    if args.address is not None:
        _check_address(args.address)
    if args.storage is None:
        if args.address is not None and args.resume is None:
            raise UserError(
                f"--address {args.address}: needs --storage URI, which all nodes reach: a shared "
                "folder, s3://BUCKET/FOLDER, ..."
            )
        return
    args.storage = check_uri(args.storage)
    if args.max_disk is not None:
        raise UserError(
            "--max-disk is of the experiment's folder, and with --storage the weights are there: "
            "leave it out"
        )


def _check_address(address: str) -> None:
    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: a driver runs on a machine of its cluster: submit the command "
            "to the head with `ray job submit` and --address auto (docs/scaling.md)"
        )
    if not is_address(address):
        raise UserError(f"--address {address}: give auto or HOST:PORT")
