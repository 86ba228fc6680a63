"""The command line of `search/run.py`: its flags, and which of them go together."""

from __future__ import annotations

import argparse
import math
import shlex
import textwrap

from minigpt_search.data.common.errors import ArgumentParser, UserError, is_count
from minigpt_search.data.common.folding import HelpFormatter
from minigpt_search.data.common.invocation import program
from minigpt_search.search.cli import ladder_flags, recipe_flags, search_flags, space_flags
from minigpt_search.search.records.plan import LOGGERS, SAMPLERS, MachineUse
from minigpt_search.search.space.axes import AXES, OFFERED
from minigpt_search.search.space.presets import PRESETS

DESCRIPTION = """\
Search learning rate, epochs, width and context length of a small GPT.

examples, each after the words above:
  --grid lr                           the recipe's four learning rates
  --grid lr,embed_dim --lr 5e-4,1e-3  a product, with values of your own
  --grid claims                       the runs that test its report's claims
  --search tpe --trials 20            Optuna over lr, epochs and embed_dim
  --search gp --trials 20 --space weight_decay=0.01:1 --max-cost 5e13flop
  --ladder --target full              the rate of a run too long to search
  --resume lr-quick-20261122-180000   go on after a kill

In parentheses: what holds without a flag. All of them at length: docs/flags.md
"""
ABOUT_AXES = textwrap.fill(
    "An axis takes a grid's values, or a sampler's low,high; a single value fixes it. "
    f"Axes of --grid and --space: {', '.join(OFFERED)}.",
    width=76,
)
RESOURCES = ("max_concurrent", "cpus_per_trial", "gpus_per_trial", "trials_per_gpu")
WITH_RESUME = (
    *("resume", "out", "skip_damaged", "storage", "address", "trials", "words"),
    *(*RESOURCES, "checkpoint_every", "max_disk", "log", "open", "verify"),
)
"""What is given with `--resume`: everything else is the experiment's."""


def make_parser() -> argparse.ArgumentParser:
    prog = shlex.join(program("search/run.py"))
    parser = ArgumentParser(
        prog=prog,
        usage="%(prog)s [flags]",
        description=DESCRIPTION,
        formatter_class=_ShortHelp,
        allow_abbrev=False,
    )
    _add_what(parser.add_argument_group("what to search", ABOUT_AXES))
    recipe_flags.add_flags(parser)
    ladder_flags.add_flags(parser)
    search_flags.add_flags(parser)
    _add_goes_on(parser.add_argument_group("names, and experiments that are there"))
    _add_machine(parser.add_argument_group("this machine"))
    parser.set_defaults(words=())  # the command line with what --config gives: search/run.py
    return parser


class _ShortHelp(HelpFormatter):
    """Flags of up to 28 characters stand in a line with their help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--grid", metavar="AXES", help="these axes; several are a product; or claims"
    )
    for axis in (axis for axis in AXES.values() if axis.has_flag):
        default = ",".join(f"{value:g}" for value in axis.grid)
        group.add_argument(axis.flag, metavar="VALUES", help=f"{axis.label} ({default})")
    space_flags.add_flags(group)
    group.add_argument(
        "--search",
        choices=SAMPLERS,
        metavar="SAMPLER",
        help=f"Optuna's in place of a grid: {', '.join(SAMPLERS)}",
    )
    group.add_argument("--trials", type=int, metavar="N", help="configurations a sampler tries")
    group.add_argument(
        "--seeds", type=int, metavar="N", help="replicates of each configuration (1)"
    )
    group.add_argument("--seed", type=int, default=0, help="decides all seeds (0)")
    group.add_argument(
        "--preset",
        type=_preset,
        choices=PRESETS,
        metavar="SIZE",
        help="full or quick (full with a GPU, else quick)",
    )
    group.add_argument(
        "--corpus", default="builtin", metavar="NAME", help="a prepared one (builtin)"
    )


def _add_goes_on(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", help="of the experiment (axes, preset and time)")
    group.add_argument("--resume", metavar="NAME", help="finish an experiment that was cut short")
    group.add_argument(
        "--skip-damaged",
        action="store_true",
        help="with --resume: train damaged lines' trials again",
    )
    group.add_argument(
        "--extend",
        metavar="NAME",
        help="its command with these flags changed, as a new experiment",
    )
    group.add_argument(
        "--config", metavar="FILE.toml", help="flags from a file; those given here win"
    )
    group.add_argument("--dry-run", action="store_true", help="print the plan and its cost only")
    group.add_argument(
        "--log",
        action="append",
        metavar="LOGGER",
        help=f"trials as runs in {', '.join(LOGGERS)}, too",
    )
    group.add_argument(
        "--open", nargs="?", type=int, const=0, metavar="PORT", help="the live page in a browser"
    )
    group.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")


def _add_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", choices=("cpu", "cuda"), help="(cuda if there is a GPU)")
    group.add_argument("--max-concurrent", type=int, metavar="N", help="trials at a time")
    group.add_argument("--cpus-per-trial", type=int, metavar="N", help="threads of a trial")
    group.add_argument("--gpus-per-trial", type=float, metavar="X", help="1, or a fraction")
    group.add_argument(
        "--trials-per-gpu", metavar="N", help="that share a GPU, or auto: as measured here (1)"
    )
    group.add_argument(
        "--pack", metavar="K", help="trials that train as one batched model, or auto (1)"
    )
    group.add_argument(
        "--checkpoint-every",
        type=float,
        metavar="SECONDS",
        help=f"that a kill may cost ({MachineUse.checkpoint_every_seconds:g})",
    )
    group.add_argument(
        "--max-disk", metavar="SIZE", help="such as 2GB: losers' weights go first (no limit)"
    )


def _preset(text: str) -> str:
    if text == "seed":
        raise argparse.ArgumentTypeError("the preset seed is called full now; give --preset full")
    return text


def check_options(args: argparse.Namespace) -> None:
    """Raise `UserError` for flags that contradict each other or are out of range."""
    for name, low in (("trials", 1), ("seeds", 1), ("max_concurrent", 1), ("cpus_per_trial", 1)):
        value = getattr(args, name)
        if value is not None and value < low:
            raise UserError(f"--{name.replace('_', '-')} {value}: give {low} or more")
    if not 0 <= args.seed < 2**31:
        raise UserError(f"--seed {args.seed}: give a number from 0 to 2147483647")
    if args.gpus_per_trial is not None and not 0 < args.gpus_per_trial < math.inf:
        raise UserError(f"--gpus-per-trial {args.gpus_per_trial}: give a number above 0")
    if args.checkpoint_every is not None and not 0 < args.checkpoint_every < math.inf:
        raise UserError(f"--checkpoint-every {args.checkpoint_every}: give seconds above 0")
    if args.open is not None and not 0 <= args.open < 65536:
        raise UserError(f"--open {args.open}: give a port from 1 to 65535, or none")
    if args.pack not in (None, "auto") and not is_count(args.pack):
        raise UserError(f"--pack {args.pack}: give a number of 1 or more, or auto")
    recipe_flags.check_flags(args)
    if args.skip_damaged and args.resume is None:
        raise UserError("--skip-damaged goes with --resume: a new search has no ledger yet")
    defaults = make_parser().parse_args([])
    given = [
        f"--{'no-' * (name == 'paired' and value is False)}{name.replace('_', '-')}"
        for name, value in vars(args).items()
        if value != getattr(defaults, name) and name not in WITH_RESUME
    ]
    if args.resume is not None and given:
        raise UserError(
            f"--resume takes the plan from the experiment: leave out {' '.join(given)}, or begin "
            f"another with --extend {args.resume}"
        )
    ladder_flags.check_flags(args)
    search_flags.check_flags(args)
    axes = [getattr(args, axis.name) for axis in AXES.values() if axis.has_flag]
    what = [args.grid, args.search, args.space, *axes]
    if args.resume is None and not args.ladder and all(value is None for value in what):
        raise UserError("nothing to search: give --grid lr, or --search tpe --trials 20")
    space_flags.check_flags(args)
    if args.search is not None and args.trials is None and args.budget is None:
        raise UserError("--search needs --trials N: how many configurations to try; or --budget")
    if args.search is None and args.trials is not None and args.resume is None:
        raise UserError("--trials goes with --search; a grid tries all its cells")
    if args.search is not None and args.pack is not None:
        raise UserError("--pack goes with a grid; a sampler's trials train alone")
