"""The flags about noise and earlier results: `--confirm`, `--confirm-seeds`, `--warm-start`."""

from __future__ import annotations

import argparse

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.records.experiment import check_name
from minigpt_search.search.records.plan import Noise
from minigpt_search.search.results.confirm import FIRST_ROUND

MOST_CONFIRM_SEEDS = 1000
"""Beyond it a flag has a digit too many."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add them in a group of their own."""
    group = parser.add_argument_group("how sure")
    group.add_argument(
        "--confirm",
        type=int,
        metavar="K",
        help="train the K best again with fresh seeds, until the winner is separated from the rest",
    )
    group.add_argument(
        "--confirm-seeds",
        type=int,
        default=Noise.confirm_seeds,
        metavar="N",
        help=f"with --confirm: at most N fresh seeds of each ({Noise.confirm_seeds})",
    )
    group.add_argument(
        "--warm-start",
        action="append",
        metavar="NAME",
        help="begin with what other experiments on the same corpus found (several: commas, or the "
        "flag again); finished trials of this plan are taken over",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what is out of range or goes with another flag."""
    if args.confirm is not None and args.confirm < 2:
        raise UserError(f"--confirm {args.confirm}: give 2 or more: a winner needs a runner-up")
    if not FIRST_ROUND <= args.confirm_seeds <= MOST_CONFIRM_SEEDS:
        raise UserError(
            f"--confirm-seeds {args.confirm_seeds}: give a number from {FIRST_ROUND} (one seed "
            f"says nothing of the spread) to {MOST_CONFIRM_SEEDS:,}"
        )
    if args.confirm is None and args.confirm_seeds != Noise.confirm_seeds:
        raise UserError("--confirm-seeds goes with --confirm K: of how many configurations")
    warm_starts(args)


def warm_starts(args: argparse.Namespace) -> tuple[str, ...]:
    """The experiments to begin with, each once. Raises `UserError` for what is no name."""
    words = [word.strip() for text in args.warm_start or () for word in text.split(",")]
    return tuple(dict.fromkeys(check_name(word, "--warm-start") for word in words))
