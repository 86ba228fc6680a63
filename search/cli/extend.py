"""The options of `--extend NAME`: those of another experiment's command, changed where flags are
given."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.ladder_flags import check_flags
from minigpt_search.search.cli.space_flags import merged
from minigpt_search.search.ladder.layout import next_rungs
from minigpt_search.search.records.experiment import Experiment, find_experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.space.axes import AXES

_OWN = ("name", "resume", "extend", "dry_run", "out", "warm_start", "open")
"""Flags that are never taken from the other experiment's command."""


def extended_arguments(
    parser: argparse.ArgumentParser, root: Path, name: str, words: Sequence[str]
) -> argparse.Namespace:
    """The options of experiment `name`'s command, with those of `words` instead where given.

    Raises `UserError` if there is no such experiment.
    """
    folder = find_experiment(root, name)
    before = read_experiment(folder)
    command = _as_called_now(before.command[1:])
    args = parser.parse_args(command)
    if args.extend is not None:
        args = extended_arguments(parser, root, args.extend, command)
    for own in _OWN:
        setattr(args, own, parser.get_default(own))
    args.preset, args.device = before.preset, before.machine.device
    now = parser.parse_args(words)
    args.paired = _same_design(before, now.paired)
    if before.ladder is not None:
        return _with_another_rung(parser, args, before, words)
    if before.plan.budget_seconds is not None and now.budget is None:
        _keep_what_fitted(args, before, folder)
    space = merged(args.space, now.space)
    again = {text.partition("=")[0].strip() for text in now.space or ()}
    for axis in (axis for axis in AXES.values() if axis.has_flag):
        if getattr(now, axis.name) is not None:  # in place of how it was given before
            space = [text for text in space or () if text.partition("=")[0].strip() != axis.name]
        elif axis.name in again:
            setattr(args, axis.name, None)
    args = parser.parse_args(words, namespace=args)
    args.space = space or None
    return args


def _same_design(before: Experiment, paired: bool | None) -> bool:
    """Whether seeds are shared, as they are in the extended experiment: with others none of its
    trials is in the plan. Raises `UserError` where the flag says another."""
    if paired is None or paired == before.noise.paired:
        return before.noise.paired
    flag, whose = ("--paired", "of its own") if paired else ("--no-paired", "shared by all")
    raise UserError(
        f"{flag}: the seeds of a configuration of {before.name} are {whose}, and what extends it "
        "keeps that; leave the flag out, or begin another search without --extend"
    )


def _with_another_rung(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    before: Experiment,
    words: Sequence[str],
) -> argparse.Namespace:
    """The options of a ladder with a rung more, unless `words` give its rungs. Raises `UserError`
    for a budget, which would choose other ones."""
    spec, now = before.ladder, parser.parse_args(words)
    assert spec is not None
    if now.budget is not None:
        raise UserError(
            f"--budget {now.budget}: with other rungs nothing of {before.name} could be taken "
            "over; leave it out, or begin anew without --extend"
        )
    check_flags(parser.parse_args(words, namespace=argparse.Namespace(**vars(args))))
    rungs = next_rungs(before)
    if rungs == spec.rungs and now.rungs is now.rates is None:
        raise UserError(
            f"--extend {before.name}: no longer rung fits below half of its target; give --rungs "
            "of your own, or train the target"
        )
    args.budget, args.rungs = None, ",".join(map(str, rungs))
    args.rates, args.seeds = str(spec.rates), before.noise.seeds
    made = parser.parse_args(words, namespace=args)
    if now.verify is None and spec.verify and spec.verify <= max(map(int, made.rungs.split(","))):
        made.verify = None  # what was verified is a rung by now
    return made


def _as_called_now(words: Sequence[str]) -> list[str]:
    """A command with the preset `full` by that name: older ones call it `seed`."""
    return shlex.split(re.sub(r"(--preset[ =])seed\b", r"\1full", shlex.join(words)))


def _keep_what_fitted(args: argparse.Namespace, before: Experiment, folder: Path) -> None:
    """Replace `--budget` by what it came to: with the speeds of today it would come to other
    lengths, and nothing could be taken over."""
    args.budget = None
    if before.plan.sampler is None:
        args.tokens_per_epoch = before.space.base.train.tokens_per_epoch
    else:
        args.trials = max(1, Ledger(folder / "ledger.jsonl").configurations())
