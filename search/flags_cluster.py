"""The flags of what is past one machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from data.cluster import is_address
from data.errors import UserError
from search.storage_uri import check_uri, is_uri

CLIENT = "ray://"
"""How the address of a cluster begins that this machine is no part of."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("past one machine")
    group.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of a Ray cluster that trains: auto, HOST:PORT or ray://HOST:PORT; with --storage",
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
    if not is_address(address.removeprefix(CLIENT)) or address == f"{CLIENT}auto":
        raise UserError(f"--address {address}: give auto, HOST:PORT or ray://HOST:PORT")


def without_flags(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """A command line's words without these flags and their values."""
    left, kept = list(words), []
    while left:
        word = left.pop(0)
        if word in flags:
            left = left[1:]
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept
