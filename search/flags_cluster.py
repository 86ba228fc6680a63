"""The flags of what is past one machine."""

from __future__ import annotations

import argparse

from data.errors import UserError
from search.storage_uri import check_uri, is_uri


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("past one machine")
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
    if args.storage is None:
        return
    args.storage = check_uri(args.storage)
    if args.max_disk is not None:
        raise UserError(
            "--max-disk is of the experiment's folder, and with --storage the weights are there: "
            "leave it out"
        )
