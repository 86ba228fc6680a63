"""Flags of how a search runs: early stopping, its time, how sure its answer is, where it runs."""

from __future__ import annotations

import argparse
import math
import re

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.extras import need_extra
from minigpt_search.data.ray.address import is_address
from minigpt_search.search.records.experiment import check_name
from minigpt_search.search.records.plan import LOGGERS, STOPPERS, Noise
from minigpt_search.search.results.confirm import FIRST_ROUND
from minigpt_search.search.storage.uri import check_uri, is_uri

MOST_CONFIRM_SEEDS = 1000
"""Beyond it a flag has a digit too many."""
LEAST_DELTA = 1e-6
"""Nats: losses are printed with four digits, and differ by rounding below it."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Each kind is a group of its own in `--help`."""
    group = parser.add_argument_group("how long, and how sure")
    group.add_argument(
        "--stop",
        choices=STOPPERS,
        metavar="RULE",
        help=f"end trials that lag behind: {', '.join(STOPPERS)} (none)",
    )
    group.add_argument(
        "--paired",
        action=argparse.BooleanOptionalAction,
        help="all configurations share their seeds (own seeds)",
    )
    group.add_argument(
        "--confirm",
        type=int,
        metavar="K",
        help="train the K best again with fresh seeds",
    )
    group.add_argument(
        "--confirm-seeds",
        type=int,
        default=Noise.confirm_seeds,
        metavar="N",
        help=f"fresh seeds of each at most ({Noise.confirm_seeds})",
    )
    group.add_argument(
        "--delta",
        type=float,
        default=Noise.delta_nats,
        metavar="NATS",
        help=f"a difference that does not matter ({Noise.delta_nats:g})",
    )
    group.add_argument(
        "--warm-start",
        action="append",
        metavar="NAME",
        help="begin with what other experiments found (several: commas)",
    )
    group.add_argument(
        "--budget",
        metavar="TIME",
        help="for the whole search: 90s, 30m, 2h (no limit)",
    )
    group = parser.add_argument_group("past one machine (docs/scaling.md)")
    group.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of a Ray cluster: auto or HOST:PORT",
    )
    group.add_argument(
        "--storage",
        metavar="URI",
        help="a shared folder, s3://BUCKET/FOLDER, gs://...",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what is out of range or doesn't go with another flag."""
    if args.stop is not None and args.pack not in (None, "1"):
        raise UserError(
            f"--stop goes without --pack {args.pack}: the trials of a pack train to the same "
            "step together; leave one of the two out"
        )
    _check_noise(args)
    loggers(args)
    check_sampler(args.search, f"--search {args.search}")
    if args.budget is not None:
        parse_budget(args.budget)
        if args.confirm is not None:
            raise UserError(
                "--budget doesn't count the fresh seeds of --confirm: confirm afterwards, with "
                f"--extend NAME --confirm {args.confirm}"
            )
    _check_cluster(args)


def _check_noise(args: argparse.Namespace) -> None:
    if args.confirm is not None and args.confirm < 2:
        raise UserError(f"--confirm {args.confirm}: give 2 or more: a winner needs a runner-up")
    if not FIRST_ROUND <= args.confirm_seeds <= MOST_CONFIRM_SEEDS:
        raise UserError(
            f"--confirm-seeds {args.confirm_seeds}: give a number from {FIRST_ROUND} (one seed "
            f"says nothing of the spread) to {MOST_CONFIRM_SEEDS:,}"
        )
    if args.confirm is None and args.confirm_seeds != Noise.confirm_seeds:
        raise UserError("--confirm-seeds goes with --confirm K: of how many configurations")
    if not LEAST_DELTA <= args.delta < math.inf:
        raise UserError(f"--delta {args.delta:g}: give {LEAST_DELTA:g} nats or more")
    warm_starts(args)


def _check_cluster(args: argparse.Namespace) -> None:
    if args.resume is not None and is_uri(args.resume) and args.storage is not None:
        raise UserError(f"--resume {args.resume}: has the storage in it; leave out --storage")
    if args.address is not None:
        if args.address.startswith("ray://"):
            raise UserError(
                f"--address {args.address}: a driver runs on a machine of its cluster: submit the "
                "command to the head with `ray job submit` and --address auto (docs/scaling.md)"
            )
        if not is_address(args.address):
            raise UserError(f"--address {args.address}: give auto or HOST:PORT")
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


def parse_budget(text: str) -> float:
    """Seconds of `90s`, `30m`, `1.5h` or `2d`. Raises `UserError` for anything else."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < 1e8:
        raise UserError(f"--budget {text}: give a time with its unit, such as 90s, 30m, 2h or 1d")
    return seconds


def warm_starts(args: argparse.Namespace) -> tuple[str, ...]:
    """The experiments to begin with, each once. Raises `UserError` for what is no name."""
    words = [word.strip() for text in args.warm_start or () for word in text.split(",")]
    return tuple(dict.fromkeys(check_name(word, "--warm-start") for word in words))


def check_sampler(sampler: str | None, where: str) -> None:
    """Raise `UserError` if the sampler's library is not installed.

    Args:
        where: the flag that asks for it.
    """
    if sampler == "cmaes":
        need_extra("cmaes", where)


def loggers(args: argparse.Namespace) -> tuple[str, ...]:
    """The loggers of `--log`, each once. Raises `UserError` for one that is unknown or not
    installed."""
    words = [word.strip() for text in args.log or () for word in text.split(",")]
    for word in words:
        if word not in LOGGERS:
            raise UserError(f"--log {word}: give one or several of {', '.join(LOGGERS)}")
        need_extra(word, f"--log {word}")
    return tuple(dict.fromkeys(words))
