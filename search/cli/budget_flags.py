"""The flag of the time budget."""

from __future__ import annotations

import argparse
import re

from minigpt_search.data.common.errors import UserError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how long the search takes")
    group.add_argument(
        "--budget",
        metavar="TIME",
        help="such as 90s, 30m or 2h, from the command's start: a grid gets fewer tokens an epoch, "
        "a sampler as many trials as fit (no limit)",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what is no time, or what can't be counted in it."""
    if args.budget is None:
        return
    parse_budget(args.budget)
    if args.confirm is not None:
        raise UserError(
            "--budget doesn't count the fresh seeds of --confirm: confirm afterwards, with "
            f"--extend NAME --confirm {args.confirm}"
        )


def parse_budget(text: str) -> float:
    """Seconds of `90s`, `30m` or `1.5h`. Raises `UserError` for anything else."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < 1e8:
        raise UserError(f"--budget {text}: give a time with its unit, such as 90s, 30m or 2h")
    return seconds
