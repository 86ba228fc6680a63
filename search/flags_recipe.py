"""Flags of the training recipe: the learning rate's schedule and the parametrization."""

from __future__ import annotations

import argparse
from typing import Any

from data.errors import UserError
from model.config import PARAMETRIZATIONS, SCHEDULES, TrainConfig

_FIELDS = ("schedule", "decay_fraction", "parametrization")


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recipe")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="after the warm-up: linear to zero; cosine to a tenth; wsd, constant and then linear "
        "to zero, where a grid over epochs takes one trunk and a branch for each length, and the "
        f"warm-up is a share of one epoch ({TrainConfig.schedule})",
    )
    group.add_argument(
        "--decay-fraction",
        type=float,
        metavar="X",
        help=f"of wsd, the share of all steps that decay ({TrainConfig.decay_fraction:g})",
    )
    group.add_argument(
        "--parametrization",
        choices=PARAMETRIZATIONS,
        help="mup: the best rate stays where it is as the width grows "
        f"({TrainConfig.parametrization})",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for a decay without its schedule."""
    if args.decay_fraction is not None and args.schedule != "wsd":
        raise UserError("--decay-fraction goes with --schedule wsd: the others decay all the way")


def recipe_fields(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `TrainConfig` that the flags give."""
    given = {name: getattr(args, name) for name in _FIELDS}
    return {name: value for name, value in given.items() if value is not None}


def recipe_words(recipe: TrainConfig) -> str:
    """The flags that give these fields, each after a space; none for the defaults."""
    return "".join(
        f" --{name.replace('_', '-')} {value}"
        for name in _FIELDS
        if (value := getattr(recipe, name)) != getattr(TrainConfig, name)
        and (name != "decay_fraction" or recipe.schedule == "wsd")
    )
