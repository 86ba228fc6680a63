"""The command line of `search/run.py`: its flags, and which of them go together."""

from __future__ import annotations

import argparse
import math
import shlex

from minigpt_search.data.common.errors import ArgumentParser, UserError, is_count
from minigpt_search.data.common.invocation import program
from minigpt_search.search.cli import ladder_flags, recipe_flags, search_flags, space_flags
from minigpt_search.search.records.plan import SAMPLERS, MachineUse
from minigpt_search.search.space.axes import AXES, OFFERED
from minigpt_search.search.space.presets import PRESETS

DESCRIPTION = """\
Search learning rate, epochs, width and context length of a small GPT.

example:
  PROGRAM --grid lr                           the assignment's four learning rates
  PROGRAM --grid lr,embed_dim --lr 5e-4,1e-3  a product, with values of your own
  PROGRAM --grid claims                       the runs that test its report's claims
  PROGRAM --search tpe --trials 20            Optuna over lr, epochs and embed_dim
  PROGRAM --search tpe --trials 20 --space weight_decay=0.01:1 --max-cost 5e13flop
  PROGRAM --ladder --target full              the rate of a run too long to search
  PROGRAM --resume lr-quick-20261122-180000   go on after a kill
"""
RESOURCES = ("max_concurrent", "cpus_per_trial", "gpus_per_trial", "trials_per_gpu")
WITH_RESUME = (
    *("resume", "out", "skip_damaged", "storage", "address", "trials", "words"),
    *(*RESOURCES, "checkpoint_every", "max_disk", "verify"),
)
"""What is given with `--resume`: everything else is the experiment's."""


def make_parser() -> argparse.ArgumentParser:
    prog = shlex.join(program("search/run.py"))
    parser = ArgumentParser(
        prog=prog,
        description=DESCRIPTION.replace("PROGRAM", prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to search")
    what.add_argument(
        "--grid", metavar="AXES", help=f"of {', '.join(OFFERED)}; several: a product; or claims"
    )
    for axis in (axis for axis in AXES.values() if axis.has_flag):
        low_high = f"{axis.low:g},{axis.high:g}"
        default = ",".join(f"{value:g}" for value in axis.grid)
        what.add_argument(
            axis.flag,
            metavar="VALUES",
            help=f"{axis.label}: a grid's values ({default}), or a sampler's low,high "
            f"({low_high}); a single value fixes it",
        )
    space_flags.add_flags(what)
    what.add_argument("--search", choices=SAMPLERS, help="Optuna's sampler instead of a grid")
    what.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="configurations a sampler tries, those taken over included; with --resume: in all",
    )
    what.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="replicates of each configuration (1)"
    )
    what.add_argument("--seed", type=int, default=0, help="decides all seeds (0)")
    what.add_argument("--preset", type=_preset, choices=PRESETS, help="full with a GPU, else quick")
    what.add_argument(
        "--corpus", default="builtin", metavar="NAME", help="a prepared one (builtin)"
    )
    recipe_flags.add_flags(parser)
    ladder_flags.add_flags(parser)
    search_flags.add_flags(parser)
    where = parser.add_argument_group("where and how")
    where.add_argument("--name", help="of the experiment (axes, preset and time)")
    where.add_argument(
        "--resume",
        metavar="NAME",
        help="finish an experiment that was cut short; or its URI in a storage, on any machine; "
        "--max-concurrent, --cpus-per-trial, --gpus-per-trial, --trials-per-gpu, "
        "--checkpoint-every, --max-disk, a sampler's --trials and a ladder's --verify may change",
    )
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
        metavar="SECONDS",
        help=f"how much training a kill may cost ({MachineUse.checkpoint_every_seconds:g})",
    )
    where.add_argument(
        "--config",
        metavar="FILE.toml",
        help="flags from a file, such as the experiment.toml of an experiment; those of the "
        "command line win",
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
    parser.set_defaults(words=())  # the command line with what --config gives: search/run.py
    return parser


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
    if args.pack not in (None, "auto") and not is_count(args.pack):
        raise UserError(f"--pack {args.pack}: give a number of 1 or more, or auto")
    recipe_flags.check_flags(args)
    if args.skip_damaged and args.resume is None:
        raise UserError("--skip-damaged goes with --resume: a new search has no ledger yet")
    defaults = make_parser().parse_args([])
    given = [
        f"--{name.replace('_', '-')}"
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
