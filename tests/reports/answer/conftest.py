"""Ledgers that can be checked by hand, and what is advised about them read back by the search's own
parser."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.model.config import RunConfig
from minigpt_search.search.answer.answer import Answer
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.cli.space_flags import read_space
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.space.axes import AXES
from minigpt_search.search.space.presets import PRESETS

RATES = (5e-4, 1e-3, 2e-3)
Made = tuple[Experiment, Ledger]


def _made(
    build: Any, axes: dict[str, tuple[float, ...]], losses: dict[Any, Any], **changes: Any
) -> Made:
    """An experiment over one axis or a sampler's points; `losses`: of a value, one a replicate,
    each a final loss or a tuple of the epochs'."""
    flags = [f for n, v in axes.items() for f in (AXES[n].flag, ",".join(f"{x:g}" for x in v))]
    command = ("search/run.py", *flags, "--preset", "quick")
    if changes.get("sampler"):
        command += ("--search", "tpe", "--trials", str(changes["samples"]))
    experiment = build.plan(axes, **{"command": command, **changes})
    [name] = axes
    records = [
        build.trial(
            experiment, {name: value}, loss if isinstance(loss, tuple) else (8.0, 7.9, loss),
            replicate=replicate,
        )
        for value, found in losses.items()
        for replicate, loss in enumerate(found)
    ]  # fmt: skip
    return experiment, build.write(experiment, records)


def _read_back(build: Any, found: Answer) -> list[tuple[dict[str, Any], RunConfig]]:
    """The axes and base of every search that is advised, by the search's own parser."""
    plans = []
    for step in found.steps:
        words = shlex.split(step.command)
        assert words[0] == "python" and "\n" not in step.why
        if words[1] != "search/run.py":
            assert (Path(__file__).parents[3] / words[1]).is_file()
            continue
        parser = make_parser()
        args = parser.parse_args(words[2:])
        if args.extend is not None:
            args = extended_arguments(parser, build.root, args.extend, words[2:])
        check_options(args)
        if args.resume is None:
            space = read_space(args, PRESETS[args.preset])
            plans.append((dict(space.axes), space.base))
    return plans


def _confirmed(build: Any, fresh: Callable[[float, int], float], most: int = 4) -> Made:
    losses = {5e-4: [7.5], 1e-3: [7.0], 2e-3: [7.1]}
    experiment, ledger = _made(build, {"lr": RATES}, losses, confirm=2, confirm_seeds=most)
    for rate in (1e-3, 2e-3):
        for replicate in range(1, most + 1):
            loss = (8.0, 7.9, fresh(rate, replicate))
            ledger.append(build.trial(experiment, {"lr": rate}, loss, replicate=replicate))
    return experiment, ledger


@pytest.fixture
def made(build: Any) -> Callable[..., Any]:
    return functools.partial(_made, build)


@pytest.fixture
def read_back(build: Any) -> Callable[..., Any]:
    return functools.partial(_read_back, build)


@pytest.fixture
def confirmed(build: Any) -> Callable[..., Any]:
    return functools.partial(_confirmed, build)
