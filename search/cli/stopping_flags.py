"""The flag of early stopping."""

from __future__ import annotations

import argparse

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.records.plan import STOPPERS


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how long a trial trains")
    group.add_argument(
        "--stop",
        choices=STOPPERS,
        help="end trials that lag behind comparable ones at 1/8, 1/4 or 1/2 of their run; never: "
        "score them there only (no such scores)",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what does not go together."""
    if args.stop is not None and args.pack not in (None, "1"):
        raise UserError(
            f"--stop goes without --pack {args.pack}: the trials of a pack train to the same "
            "step together; leave one of the two out"
        )
