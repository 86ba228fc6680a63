"""The command line of `search/run.py`: flags, and from them the axes and the base configuration."""

from __future__ import annotations

import argparse
import math

from data.errors import ArgumentParser, UserError, is_count
from model.config import RunConfig
from search import flags_recipe
from search.axes import AXES, Axis, axis_named
from search.experiment import Experiment
from search.presets import PRESETS

DESCRIPTION = """\
Search learning rate, epochs, width and context length of a small GPT.

example:
  python search/run.py --grid lr                           the assignment's four learning rates
  python search/run.py --grid lr,embed_dim --lr 5e-4,1e-3  a product, with values of your own
  python search/run.py --search tpe --trials 20            Optuna over lr, epochs and embed_dim
  python search/run.py --resume lr-quick-20261122-180000   go on after a kill
"""
SAMPLERS = ("tpe",)
SEARCHED_AXES = ("lr", "epochs", "embed_dim")
"""What a sampler varies unless `--grid` names other axes."""


MOST_TRIALS = 10_000
"""Of one search; beyond it a flag has a digit too many."""


def make_parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python search/run.py",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to search")
    what.add_argument("--grid", metavar="AXES", help=f"of {', '.join(AXES)}; several: a product")
    for axis in AXES.values():
        low_high = f"{axis.low:g},{axis.high:g}"
        default = ",".join(f"{value:g}" for value in axis.grid)
        what.add_argument(
            axis.flag,
            metavar="VALUES",
            help=f"{axis.label}: a grid's values ({default}), or a sampler's low,high "
            f"({low_high}); a single value fixes it",
        )
    what.add_argument("--search", choices=SAMPLERS, help="Optuna's sampler instead of a grid")
    what.add_argument("--trials", type=int, metavar="N", help="configurations a sampler tries")
    what.add_argument("--seeds", type=int, default=1, metavar="N", help="replicates of a cell (1)")
    what.add_argument("--seed", type=int, default=0, help="decides all seeds (0)")
    what.add_argument("--preset", choices=PRESETS, help="seed with a GPU, else quick")
    what.add_argument(
        "--corpus", default="builtin", metavar="NAME", help="a prepared one (builtin)"
    )
    flags_recipe.add_flags(parser)
    where = parser.add_argument_group("where and how")
    where.add_argument("--name", help="of the experiment (axes, preset and time)")
    where.add_argument("--resume", metavar="NAME", help="finish an experiment that was cut short")
    where.add_argument(
        "--skip-damaged",
        action="store_true",
        help="with --resume: pass over damaged lines of the ledger, and train those trials again",
    )
    where.add_argument(
        "--extend",
        metavar="NAME",
        help="a new experiment: the command of NAME with these flags changed; takes over what it "
        "finished",
    )
    where.add_argument(
        "--checkpoint-every",
        type=float,
        default=Experiment.checkpoint_every_seconds,
        metavar="SECONDS",
        help=f"how much training a kill may cost ({Experiment.checkpoint_every_seconds:g})",
    )
    where.add_argument("--dry-run", action="store_true", help="print the plan and its cost only")
    where.add_argument("--device", choices=("cpu", "cuda"), help="cuda if there is a GPU")
    where.add_argument("--max-concurrent", type=int, metavar="N", help="trials at a time")
    where.add_argument("--cpus-per-trial", type=int, metavar="N", help="threads of a trial")
    where.add_argument("--gpus-per-trial", type=float, metavar="X", help="1, or a fraction")
    where.add_argument(
        "--trials-per-gpu", metavar="N", help="that share a GPU, or auto: as measured here (1)"
    )
    where.add_argument(
        "--pack",
        metavar="K",
        help="trials of a grid that train as one batched model, or auto: as measured here (1)",
    )
    where.add_argument(
        "--max-disk",
        metavar="SIZE",
        help="of the experiment's folder, such as 2GB: losers' weights go first (no limit)",
    )
    where.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")
    return parser


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
    if not 0 < args.checkpoint_every < math.inf:
        raise UserError(f"--checkpoint-every {args.checkpoint_every}: give seconds above 0")
    if args.pack not in (None, "auto") and not is_count(args.pack):
        raise UserError(f"--pack {args.pack}: give a number of 1 or more, or auto")
    flags_recipe.check_flags(args)
    if args.skip_damaged and args.resume is None:
        raise UserError("--skip-damaged goes with --resume: a new search has no ledger yet")
    defaults = make_parser().parse_args([])
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(args).items()
        if value != getattr(defaults, name) and name not in ("resume", "out", "skip_damaged")
    ]
    if args.resume is not None and given:
        raise UserError(
            f"--resume takes the plan from the experiment: leave out {' '.join(given)}, or begin "
            f"another with --extend {args.resume}"
        )
    axes = [getattr(args, axis.name) for axis in AXES.values()]
    if args.resume is None and all(value is None for value in [args.grid, args.search, *axes]):
        raise UserError("nothing to search: give --grid lr, or --search tpe --trials 20")
    if args.search is not None and args.trials is None:
        raise UserError("--search needs --trials N: how many configurations to try")
    if args.search is None and args.trials is not None:
        raise UserError("--trials goes with --search; a grid tries all its cells")
    if args.search is not None and args.seeds > 1:
        raise UserError("--seeds goes with a grid; a sampler tries each configuration once")
    if args.search is not None and args.pack is not None:
        raise UserError("--pack goes with a grid; a sampler's trials train alone")


def axes_and_base(
    args: argparse.Namespace, base: RunConfig
) -> tuple[dict[str, tuple[float, ...]], RunConfig]:
    """The axes with their values (a sampler's: low and high), and the base configuration.

    An axis is what `--grid` names or a flag gives several values; a single value for an axis that
    `--grid` does not name fixes it in the base. Raises `UserError`.
    """
    base = base.replace(**flags_recipe.recipe_fields(args))
    given = {
        axis.name: axis.parse(text)
        for axis in AXES.values()
        if (text := getattr(args, axis.name)) is not None
    }
    named = [] if args.grid is None else [axis_named(p.strip()).name for p in args.grid.split(",")]
    if len(set(named)) < len(named):
        raise UserError(f"--grid {args.grid}: an axis is named twice")
    if not named and args.search:
        named = [name for name in SEARCHED_AXES if len(given.get(name, (0, 0))) > 1]
    named += [name for name, values in given.items() if len(values) > 1 and name not in named]
    if args.search and not named:
        raise UserError("--search: every axis is fixed to one value; leave one open")
    axes = {}
    for name in named:
        axis = AXES[name]
        axes[name] = given.pop(name, (axis.low, axis.high) if args.search else axis.grid)
        if args.search:
            _check_range(axis, axes[name], base)
    if args.search:
        _check_enough(axes, args.trials)
    base = base.replace(**{AXES[name].field: values[0] for name, values in given.items()})
    planned = (args.trials or math.prod(map(len, axes.values()))) * args.seeds
    if planned > MOST_TRIALS:
        raise UserError(
            f"--seeds, --trials and the axes' values make {planned:,} trials: at most "
            f"{MOST_TRIALS:,} go into one search"
        )
    return axes, base


def _check_range(axis: Axis, values: tuple[float, ...], base: RunConfig) -> None:
    if len(values) != 2 or values[0] >= values[1]:
        raise UserError(f"{axis.flag} with --search: give low,high, the lower first")
    for value in values:
        base.replace(**{axis.field: value})


def _check_enough(axes: dict[str, tuple[float, ...]], trials: int) -> None:
    """Over whole numbers alone there is an end of new configurations."""
    there_are = 1
    for name, (low, high) in axes.items():
        if not AXES[name].integer:
            return
        there_are *= int(high - low) // AXES[name].step_between(low, high) + 1
    if trials > there_are:
        raise UserError(f"--trials {trials}: there are only {there_are} configurations to try")
