"""Flags of the training recipe: the learning rate's schedule and the parametrization."""

from __future__ import annotations

import argparse

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import PARAMETRIZATIONS, SCHEDULES, TrainConfig


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        metavar="SHAPE",
        help=f"{', '.join(SCHEDULES)} ({TrainConfig.schedule})",
    )
    group.add_argument(
        "--decay-fraction",
        type=float,
        metavar="X",
        help=f"of wsd: share of steps that decay ({TrainConfig.decay_fraction:g})",
    )
    group.add_argument(
        "--parametrization",
        choices=PARAMETRIZATIONS,
        metavar="KIND",
        help=f"{', '.join(PARAMETRIZATIONS)} ({TrainConfig.parametrization})",
    )
    group.add_argument(
        "--tokens-per-epoch", type=int, metavar="N", help="the preset's (quick: 110,000)"
    )
    group.add_argument("--val-tokens", type=int, metavar="N", help="the preset's (quick: 16,384)")


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for a decay without its schedule."""
    if args.decay_fraction is not None and args.schedule != "wsd":
        raise UserError("--decay-fraction goes with --schedule wsd: the others decay all the way")
    for name in ("tokens_per_epoch", "val_tokens"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: give 1 or more")
