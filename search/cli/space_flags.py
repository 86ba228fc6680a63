"""The flags of the search space, and the space that they ask for.

--space weight_decay=0.01:1:log     a sampler's range
--space embed_dim=64,128,256        a sampler's choices, a grid's values
--space dropout=0.2                 fixes it
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.search.space.axes import (
    AXES,
    CHOICES,
    LINEAR,
    LOG,
    OFFERED,
    WARMUPS,
    Axis,
    Value,
    apply_axes,
    axis_named,
    find_axis,
)
from minigpt_search.search.space.claims_grid import _VARIED, CLAIMS, Cell, claims_cells
from minigpt_search.search.space.objective import parse_max_cost, parse_objectives
from minigpt_search.search.space.presets import with_recipe
from minigpt_search.search.space.space import Space

SEARCHED_AXES = ("lr", "epochs", "embed_dim")
"""What a sampler varies unless `--grid` names other axes."""
MOST_TRIALS = 10_000
"""Of one search; beyond it a flag has a digit too many."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a flag gives an axis."""

    option: str
    """The flag with its value, for messages."""
    values: tuple[Value, ...]
    kind: str | None
    """LINEAR or LOG for `low:high`, CHOICES for a list by --space; None for an axis' own flag,
    whose two values are a sampler's low and high."""


def add_flags(group: argparse._ArgumentGroup) -> None:
    """--space, --objective and --max-cost."""
    group.add_argument(
        "--space",
        action="append",
        metavar="AXIS=VALUES",
        help="any axis: low:high[:log|linear] or v1,v2,... (again for another)",
    )
    group.add_argument(
        "--objective",
        metavar="WHAT",
        help="val_loss, or val_loss,COST for a Pareto front",
    )
    group.add_argument(
        "--max-cost",
        metavar="COST",
        help="of the best at most: 5e14flop, 30s, 8Mparam (no limit)",
    )


def check_flags(args: argparse.Namespace) -> None:
    """Raise `UserError` for an objective or a limit that is none, or that the sampler can't."""
    objectives = parse_objectives(args.objective)
    parse_max_cost(args.max_cost)
    if args.search == "cmaes" and len(objectives) > 1:
        raise UserError(
            f"--objective {args.objective}: cmaes has one objective; use --search tpe or gp"
        )


def parse_space(text: str) -> tuple[str, Given]:
    """The axis' name, and what `name=low:high[:log|linear]` or `name=v1,v2` gives it. Raises
    `UserError`."""
    option = f"--space {text}"
    name, equals, spec = text.partition("=")
    if not equals:
        raise UserError(f"{option}: give AXIS=low:high, AXIS=v1,v2,... or AXIS=value")
    axis = find_axis(name.strip(), option)
    if ":" not in spec:
        return axis.name, Given(option=option, values=axis.parse(spec, option), kind=CHOICES)
    if axis.categorical:
        there_are = ",".join(map(axis.exact, axis.choices))
        raise UserError(f"{option}: {axis.name} has no range; give {axis.name}={there_are}")
    *bounds, last = spec.split(":")
    kind = last.strip() if len(bounds) == 2 else LOG if axis.log else LINEAR
    bounds = bounds if len(bounds) == 2 else [*bounds, last]
    if len(bounds) != 2 or kind not in (LINEAR, LOG):
        raise UserError(f"{option}: a range is low:high, low:high:log or low:high:linear")
    low, high = (one for bound in bounds for one in axis.parse(bound.replace(",", " "), option))
    if not low < high:
        raise UserError(f"{option}: give the lower end first")
    return axis.name, Given(option=option, values=(low, high), kind=kind)


def merged(before: Sequence[str] | None, now: Sequence[str] | None) -> list[str] | None:
    """The --space flags of an extended command: those of `now` replace the same axis' of
    `before`."""
    names = {text.partition("=")[0].strip() for text in now or ()}
    kept = [text for text in before or () if text.partition("=")[0].strip() not in names]
    return [*kept, *(now or ())] or None


def read_space(args: argparse.Namespace, base: RunConfig) -> Space:
    """The axes with their values or a sampler's ranges, and the base configuration.

    An axis is what `--grid` names or a flag gives several values; a single value for an axis that
    `--grid` does not name fixes it in the base. Raises `UserError`.
    """
    base = with_recipe(args, base)
    given = _all_given(args)
    named = [] if args.grid is None else [axis_named(p.strip()).name for p in args.grid.split(",")]
    if len(set(named)) < len(named):
        raise UserError(f"--grid {args.grid}: an axis is named twice")
    if not named and args.search:
        named = [n for n in SEARCHED_AXES if n not in given or len(given[n].values) > 1]
    named += [name for name, one in given.items() if len(one.values) > 1 and name not in named]
    if args.search and not named:
        raise UserError("--search: every axis is fixed to one value; leave one open")
    fixed = {name: one.values[0] for name, one in given.items() if name not in named}
    if {*named, *fixed}.issuperset(WARMUPS):
        raise UserError(f"--space: {' and '.join(WARMUPS)} exclude each other; give one of them")
    if args.search:
        read = {name: _sampled(AXES[name], given.get(name)) for name in named}
        axes = {name: values for name, (values, _) in read.items()}
        kinds = {name: kind for name, (_, kind) in read.items() if kind is not None}
    else:
        axes = {name: _of_grid(AXES[name], given.get(name)) for name in named}
        kinds = {}
    space = _fitted(Space(axes=axes, kinds=kinds, base=_with_fixed(base, fixed, axes)), given)
    if args.search:
        _check_sampled(space, args)
    planned = (args.trials or math.prod(map(len, axes.values()))) * (args.seeds or 1)
    if planned > MOST_TRIALS:
        raise UserError(
            f"--seeds, --trials and the axes' values make {planned:,} trials: at most "
            f"{MOST_TRIALS:,} go into one search"
        )
    return space


def _all_given(args: argparse.Namespace) -> dict[str, Given]:
    """What the axes' own flags and --space give."""
    given = {
        axis.name: Given(option=axis.option(text), values=axis.parse(text), kind=None)
        for axis in AXES.values()
        if axis.has_flag and (text := getattr(args, axis.name)) is not None
    }
    for text in args.space or ():
        name, one = parse_space(text)
        if name in given:
            raise UserError(f"{one.option}: {name} is given twice; give it once")
        if one.kind in (LINEAR, LOG) and not args.search:
            raise UserError(
                f"{one.option}: a range goes with --search; give a grid's values, {name}=v1,v2,..."
            )
        given[name] = one
    return given


def _of_grid(axis: Axis, given: Given | None) -> tuple[Value, ...]:
    return axis.grid if given is None else given.values


def _sampled(axis: Axis, given: Given | None) -> tuple[tuple[Value, ...], str | None]:
    """A sampler's (low, high) or choices, and its kind where that is not the axis' own."""
    if given is None:
        choices = axis.choices or axis.sampled
        return (choices, CHOICES) if choices else ((axis.low, axis.high), None)
    if given.kind == CHOICES:
        if len(given.values) < 2:
            raise UserError(f"{given.option}: give a sampler two values or more, or low:high")
        return given.values, CHOICES
    if len(given.values) != 2 or not given.values[0] < given.values[1]:
        raise UserError(f"{axis.flag} with --search: give low,high, the lower first")
    own = LOG if axis.log else LINEAR
    return given.values, given.kind if given.kind not in (None, own) else None


def _with_fixed(
    base: RunConfig, fixed: Mapping[str, Value], axes: Mapping[str, tuple[Value, ...]]
) -> RunConfig:
    """The base with the fixed axes. Width or heads that are an axis take a value in the base that
    goes with the other one."""
    heads = fixed.get("n_heads", base.model.n_heads)
    width = fixed.get("embed_dim", base.model.embed_dim)
    fitting: dict[str, Value] = {}
    if "embed_dim" in axes and "n_heads" in fixed:
        fitting = {"embed_dim": next((w for w in axes["embed_dim"] if w % heads == 0), heads)}
    elif "n_heads" in axes and "embed_dim" in fixed and width % heads:
        fitting = {"n_heads": next((h for h in axes["n_heads"] if h and width % h == 0), 1)}
    return apply_axes(base, {**fitting, **fixed})


def _fitted(space: Space, given: Mapping[str, Given]) -> Space:
    """With the width's own range made to begin and end at a multiple that its heads divide."""
    if "embed_dim" not in space.axes or "embed_dim" in given or space.kind("embed_dim") != LINEAR:
        return space
    axis = AXES["embed_dim"]
    if space.axes["embed_dim"] != (axis.low, axis.high):
        return space  # a grid's values
    unit = space.width_unit()
    low, high = -(-int(axis.low) // unit) * unit, int(axis.high) // unit * unit
    if low >= high:
        raise UserError(
            f"n_heads: no two widths from {axis.low:g} to {axis.high:g} are a multiple of {unit}; "
            "give others with --embed-dim low,high"
        )
    axes = {**space.axes, "embed_dim": (low, high)}
    return Space(axes=axes, kinds=space.kinds, base=space.base)


def _check_sampled(space: Space, args: argparse.Namespace) -> None:
    """Raise `UserError` for a range that can't be, and for what the sampler can't."""
    space.check(sampled=True)
    listed = [name for name in space.axes if space.kind(name) == CHOICES]
    if args.search == "cmaes" and listed:
        raise UserError(
            f"--search cmaes: it takes ranges only, and {', '.join(listed)} has choices; fix it "
            "with --space AXIS=value, give it a range, or use --search tpe"
        )
    if (
        args.trials is not None and args.trials > space.size()
    ):  # what is impossible is left out later
        raise UserError(
            f"--trials {args.trials}: there are only {space.size():.0f} configurations to try"
        )


def claims_space(args: argparse.Namespace, base: RunConfig) -> Space:
    """The cells of `--grid claims`, and axes with the values that occur in them. A flag with one
    value fixes its axis, and the cells that vary it are left out. Raises `UserError`."""
    for flag in ("search", "space", "max_cost"):
        if getattr(args, flag) is not None:
            name = flag.replace("_", "-")
            raise UserError(f"--grid claims has cells of its own: leave out --{name}")
    base = with_recipe(args, base)
    fixed: Cell = {}
    for axis in OFFERED.values():
        text = getattr(args, axis.name, None)
        values = () if text is None else axis.parse(text)
        if len(values) > 1:
            raise UserError(
                f"{axis.flag} {text}: --grid claims has values of its own; give one to fix it, or "
                f"take --grid {axis.name}"
            )
        if values:
            fixed[axis.name] = values[0]
    base = base.replace(**{AXES[name].field: value for name, value in fixed.items()})
    if "seq_len" in fixed:  # the batch varies with the context alone
        fixed["batch_size"] = base.train.batch_size
    names = [name for name in _VARIED if name not in fixed]
    cells = [
        {name: cell[name] for name in names}
        for cell in claims_cells(base)
        if all(AXES[name].value(base) == cell[name] for name in _VARIED if name in fixed)
    ]
    if len(cells) < 2:
        raise UserError("--grid claims: every axis is fixed to one value; leave one open")
    axes = {name: tuple(sorted({cell[name] for cell in cells})) for name in names}
    return Space(base=base, axes=axes, cells=tuple(cells), named_grid=CLAIMS)
