"""The flags of a ladder, and the experiment's space that they ask for.

--ladder --target full --budget 60m                  # rungs below the preset's run
--ladder --target full --epochs 10 --embed-dim 64,128
--ladder --target full --rungs 69632,139264,278528   # tokens an epoch of your own
"""

from __future__ import annotations

import argparse

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.search.cli.space_flags import read_space
from minigpt_search.search.space.axes import OFFERED
from minigpt_search.search.space.ladder_spec import (
    LATTICE,
    LEAST_RATES,
    MOST_RATES,
    LadderSpec,
    ladder_space,
    lattice_rate,
)
from minigpt_search.search.space.objective import BUILTIN_TOKENS
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.space.space import Space

TARGET = "full"
"""The preset whose run can't be searched on a laptop."""
BUDGET = "60m"
"""Of a ladder without `--budget` or `--rungs`."""
VAL_TOKENS = 65_536
"""Validation tokens of a ladder without `--val-tokens`: the whole split would take longer to score
than a small rung to train. Every rung and the target are scored on the same ones."""
WHOLE = "target"
"""What `--verify` without a number trains."""
_NOT_WITH = {
    "search": "its rates are placed rung by rung",
    "grid": "its rates are placed rung by rung",
    "stop": "the fit needs whole runs",
    "confirm": "seeds are given by --seeds",
    "objective": "it is about the loss",
    "max_cost": "its cost is --budget",
    "pack": "it trains a few trials of a rung at a time",
    "warm_start": "go on with --extend or --resume",
}
_ALONE = ("target", "rungs", "rates", "verify")
"""Flags that go with `--ladder` only."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a ladder of short runs below one that is too long to search")
    group.add_argument(
        "--ladder",
        action="store_true",
        help="a long run's best rate from shorter ones",
    )
    group.add_argument(
        "--target", choices=PRESETS, metavar="PRESET", help=f"of the long run ({TARGET})"
    )
    group.add_argument(
        "--rungs",
        metavar="TOKENS",
        help=f"an epoch of each rung (by --budget, {BUDGET})",
    )
    group.add_argument(
        "--rates",
        metavar="N",
        help=f"that each of --rungs begins with ({LadderSpec.rates})",
    )
    group.add_argument(
        "--verify",
        nargs="?",
        const=WHOLE,
        metavar="TOKENS",
        help="then train its rate and a rival, also with --resume",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for what doesn't go with a ladder."""
    parse_verify(args.verify)
    if not args.ladder:
        for name in _ALONE:
            if getattr(args, name) is not None and not (name == "verify" and args.resume):
                given = "" if getattr(args, name) == WHOLE else f" {getattr(args, name)}"
                raise UserError(f"--{name}{given}: goes with --ladder")
        return
    for name, why in _NOT_WITH.items():
        value = getattr(args, name)
        if value is not None:
            text = value if isinstance(value, str | int) else ",".join(value)
            flag = name.replace("_", "-")
            raise UserError(f"--ladder goes without --{flag} {text}: {why}; leave it out")
    if args.preset not in (None, args.target or TARGET):
        raise UserError(
            f"--ladder goes without --preset {args.preset}: give --target {args.preset}, whose "
            "recipe the rungs have"
        )
    if args.rungs is not None and args.budget is not None:
        raise UserError("--rungs goes without --budget, which chooses them: leave one of them out")
    if args.rates is not None and args.rungs is None:
        raise UserError(f"--rates {args.rates}: goes with --rungs; --budget chooses how many")
    parse_rungs(args.rungs)
    parse_rates(args.rates)


def parse_verify(text: str | None) -> int | None:
    """Tokens an epoch of `--verify`, 0 for the target's; None without the flag. Raises
    `UserError`."""
    if text is None or text == WHOLE:
        return None if text is None else 0
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 15 and int(text) > 0):
        raise UserError(f"--verify {text}: give tokens an epoch, or no number for the target")
    return int(text)


def parse_rungs(text: str | None) -> tuple[int, ...] | None:
    """`70000,140000,280000`. Raises `UserError`."""
    if text is None:
        return None
    try:
        rungs = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--rungs {text}: give whole numbers of tokens, with commas") from None
    return LadderSpec(rungs=rungs).rungs


def parse_rates(text: str | None) -> int | None:
    """`5`. Raises `UserError`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and LEAST_RATES <= int(text[:9]) <= MOST_RATES):
        raise UserError(f"--rates {text}: give {LEAST_RATES} to {MOST_RATES}")
    return int(text)


def with_ladder_defaults(args: argparse.Namespace) -> None:
    """Fill in what a ladder takes where it isn't told."""
    args.preset = args.target or TARGET
    if args.budget is None and args.rungs is None:
        args.budget = BUDGET
    if args.val_tokens is None:
        args.val_tokens = min(VAL_TOKENS, PRESETS[args.preset].train.val_tokens or VAL_TOKENS)


def asked_ladder(args: argparse.Namespace, base: RunConfig) -> tuple[LadderSpec, Space]:
    """The rungs, as given or for the time being the shortest that there may be, and the space;
    both before the corpus is known (`search/ladder/layout.py`). Raises `UserError`."""
    asked = read_space(args, base)
    several = [name for name in asked.axes if name != "embed_dim"]
    if several:
        raise UserError(
            f"{OFFERED[several[0]].flag}: --ladder varies tokens, widths and rates alone; give one "
            "value to all rungs"
        )
    low, high = lattice_rate(LATTICE[0]), lattice_rate(LATTICE[-1])
    if not low <= asked.base.train.lr_peak <= high:
        raise UserError(
            f"--lr {asked.base.train.lr_peak:g}: a ladder's rates lie from {low:g} to {high:g}; "
            "give one of these to begin about"
        )
    target, widths = asked.base, tuple(sorted(asked.axes.get("embed_dim", ())))
    if widths:  # the preset's width is the target's, or the largest
        own = base.model.embed_dim
        target = target.replace(embed_dim=own if own in widths else widths[-1])
    unit = target.train.batch_size * target.model.seq_len
    spec = LadderSpec(
        rungs=parse_rungs(args.rungs) or (unit, 2 * unit, 4 * unit),
        rates=parse_rates(args.rates) or LadderSpec.rates,
        whole=target.train.tokens_per_epoch is None,
        warmup_steps=target.train.warmup_steps,
        verify=parse_verify(args.verify),
    )
    tokens = target.train.tokens_per_epoch or BUILTIN_TOKENS  # until the corpus is known
    widths = widths or (target.model.embed_dim,)
    return spec, ladder_space(target.replace(tokens_per_epoch=tokens), widths, spec)
