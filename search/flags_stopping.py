"""The flags of early stopping, and of how much a trial trains and scores."""

from __future__ import annotations

import argparse

from data.errors import UserError
from model.config import RunConfig
from search.stopping import STOPPERS


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how long a trial trains")
    group.add_argument(
        "--stop",
        choices=STOPPERS,
        help="end trials that lag behind comparable ones at 1/8, 1/4 or 1/2 of their run; never: "
        "score them there only (no such scores)",
    )
    group.add_argument(
        "--tokens-per-epoch", type=int, metavar="N", help="instead of the preset's (quick 110,000)"
    )
    group.add_argument(
        "--val-tokens", type=int, metavar="N", help="instead of the preset's (quick 16,384)"
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what does not go together."""
    if args.stop is not None and args.pack not in (None, "1"):
        raise UserError(
            f"--stop goes without --pack {args.pack}: the trials of a pack train to the same "
            "step together; leave one of the two out"
        )
    for name in ("tokens_per_epoch", "val_tokens"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: give 1 or more")


def with_flags(args: argparse.Namespace, base: RunConfig) -> RunConfig:
    """`base` with what these flags override."""
    fields = {name: getattr(args, name) for name in ("tokens_per_epoch", "val_tokens")}
    return base.replace(**{name: value for name, value in fields.items() if value is not None})
