"""`--extend NAME`: a new experiment that takes over the finished trials of another.

It is the command of NAME with the flags changed that are given beside it: more values on an axis,
more seeds, or the same plan with today's code.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from model.records import STOPPED
from search.axes import AXES, grid_cells
from search.code_version import code_hashes
from search.experiment import Experiment, find_experiment, read_experiment
from search.flags_space import merged
from search.ledger import Ledger, TrialRecord
from search.limits import allowed
from search.plan import make_trial
from search.stopping import NEVER
from search.trial_folder import trial_folder

_OWN = ("name", "resume", "extend", "dry_run", "out", "warm_start")
"""Flags that are never taken from the other experiment's command."""


def extended_arguments(
    parser: argparse.ArgumentParser, root: Path, name: str, words: Sequence[str]
) -> argparse.Namespace:
    """The options of experiment `name`'s command, with those of `words` instead where given.

    Raises `UserError` if there is no such experiment.
    """
    folder = find_experiment(root, name)
    before = read_experiment(folder)
    args = parser.parse_args(before.command[1:])
    if args.extend is not None:
        args = extended_arguments(parser, root, args.extend, before.command[1:])
    for own in _OWN:
        setattr(args, own, parser.get_default(own))
    args.preset, args.device = before.preset, before.device
    now = parser.parse_args(words)
    if before.budget_seconds is not None and now.budget is None:
        _without_budget(args, now, before, Ledger(folder / "ledger.jsonl"))
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


def _without_budget(
    args: argparse.Namespace, now: argparse.Namespace, before: Experiment, ledger: Ledger
) -> None:
    """Hold what the budget of the experiment `before` came to, in place of the budget.

    Trimmed again, with more cells or on a machine in another mood, none of a grid's trials would
    be those that it finished. A sampler goes on within its time, unless it is to be confirmed.
    """
    if before.sampler is None:
        args.budget, args.tokens_per_epoch = None, before.base.train.tokens_per_epoch
    elif now.confirm is not None or args.confirm is not None:
        tried = {record.config.replace(seed=0) for record in ledger.trials}
        args.budget, args.trials = None, max(1, len(tried))


def finished_trials(root: Path, experiment: Experiment) -> list[TrialRecord]:
    """What of the extended experiment is finished and a part of this one's plan.

    Raises `UserError` if that is nothing.
    """
    assert experiment.extends is not None
    folder = find_experiment(root, experiment.extends)
    ledger = Ledger(folder / "ledger.jsonl")
    ended = [record for record in ledger.trials if record.trial_id in ledger.ended()]
    finished = [record for record in ended if is_planned(record, experiment)]
    if not finished:
        raise UserError(
            f"--extend {experiment.extends}: none of its {len(ended)} finished trials is in this "
            "plan (they must have the same configuration, corpus and --seed); leave it out"
        )
    return finished


def is_planned(record: TrialRecord, experiment: Experiment) -> bool:
    """Whether a trial of another experiment is one of this plan: the same configuration, seed and
    corpus."""
    values = {name: AXES[name].value(record.config) for name in experiment.axes}
    if experiment.sampler is not None:
        inside = all(experiment.space.contains(*pair) for pair in values.items())
        inside = inside and allowed(experiment)(values)
    else:
        inside = values in (experiment.cells or grid_cells(experiment.axes))
    if not inside:
        return False
    if record.status == STOPPED and experiment.stopper in (None, NEVER):
        return False
    fresh_seeds = experiment.confirm_seeds if experiment.confirm is not None else 0
    if record.replicate >= experiment.seeds + fresh_seeds:
        return False
    return make_trial(experiment, values, record.replicate).trial_id == record.trial_id


def take_over(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Copy those finished trials into `ledger`, and their weights into `folder`, where they are
    not there yet. Once it is resumed the other experiment may be gone."""
    root = folder.parents[1]
    assert experiment.extends is not None
    other = folder.parent / experiment.extends
    if ledger.trials and not other.exists():
        return
    copy_trials(finished_trials(root, experiment), other, folder, ledger)


def copy_trials(records: Sequence[TrialRecord], other: Path, folder: Path, ledger: Ledger) -> None:
    """Copy these records of the experiment in `other`, and their weights, where they are not there
    yet."""
    for record in records:
        if record.trial_id in ledger.ended():
            continue
        if record.checkpoint is not None and (other / record.checkpoint.path).is_file():
            trial_folder(folder, record.trial_id).mkdir(parents=True, exist_ok=True)
            _link(other / record.checkpoint.path, folder / record.checkpoint.path)
        taken_from = record.taken_from or other.name
        ledger.append(dataclasses.replace(record, taken_from=taken_from))


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where that can't be."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def extension_line(root: Path, experiment: Experiment) -> str:
    """What is taken over, and whether other code made it."""
    taken = len(finished_trials(root, experiment))
    assert experiment.extends is not None
    other = read_experiment(find_experiment(root, experiment.extends))
    code = "" if other.code == code_hashes() else ", made by other code"
    return f"Extends    {experiment.extends}: {taken} of its trials are taken over{code}"
