"""`--extend NAME`: a new experiment that takes over the finished trials of another.

It is the command of NAME with the flags changed that are given beside it: more values on an axis,
more seeds, or the same plan with today's code.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.records import COMPLETE, STOPPED
from minigpt_search.search.records.experiment import Experiment, find_experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import NEVER, FailedPoint
from minigpt_search.search.records.provenance import DIFFERENT_CODE, same_code_and_versions
from minigpt_search.search.records.trial_folder import trial_folder
from minigpt_search.search.results.barriers import reason_of
from minigpt_search.search.results.configurations import without_seed
from minigpt_search.search.space.axes import AXES, Value, apply_axes, grid_cells
from minigpt_search.search.trials.feasible import allowed
from minigpt_search.search.trials.trial import make_trial


def finished_trials(root: Path, experiment: Experiment) -> list[TrialRecord]:
    """What of the extended experiment is finished and a part of this one's plan.

    Raises `UserError` if that is nothing.
    """
    assert experiment.reuse.extends is not None
    folder = find_experiment(root, experiment.reuse.extends)
    ledger = Ledger(folder / "ledger.jsonl")
    ended = [record for record in ledger.trials if record.trial_id in ledger.ended()]
    finished = [record for record in ended if is_planned(record, experiment)]
    if not finished:
        raise UserError(
            f"--extend {experiment.reuse.extends}: none of its {counted_ends(ended)} is in this "
            "plan (they must have the same configuration, corpus and --seed); leave it out"
        )
    return finished


def counted_ends(records: Sequence[TrialRecord]) -> str:
    """`6 finished and 2 diverged trials`, or what else they ended as."""
    names = {COMPLETE: "finished"}
    counts = Counter(names.get(record.status, record.status) for record in records)
    found = [f"{count} {status}" for status, count in counts.most_common()] or ["0 finished"]
    return f"{' and '.join(found)} trial{'s' * (len(records) != 1)}"


def in_space(experiment: Experiment, values: Mapping[str, Value]) -> bool:
    """Whether these are the values of one of a grid's cells, or a sampler could suggest them."""
    if experiment.ladder is not None:  # which rates a rung has is decided as it is reached
        return all(value in experiment.space.axes[name] for name, value in values.items())
    if experiment.plan.sampler is None:
        return values in (experiment.space.cells or grid_cells(experiment.space.axes))
    contained = (experiment.space.contains(*pair) for pair in values.items())
    return all(contained) and allowed(experiment)(values)


def is_planned(record: TrialRecord, experiment: Experiment) -> bool:
    """Whether a trial of another experiment is one of this plan: the same configuration, seed and
    corpus."""
    values = {name: AXES[name].value(record.config) for name in experiment.space.axes}
    if not in_space(experiment, values):
        return False
    if record.status == STOPPED and experiment.plan.stopper in (None, NEVER):
        return False
    fresh_seeds = experiment.noise.confirm_seeds if experiment.noise.confirm is not None else 0
    if record.replicate >= experiment.noise.seeds + fresh_seeds:
        return False
    return make_trial(experiment, values, record.replicate).trial_id == record.trial_id


def take_over(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Copy those finished trials into `ledger`, and their weights into `folder`, where they are
    not there yet. Once it is resumed the other experiment may be gone."""
    root = folder.parents[1]
    assert experiment.reuse.extends is not None
    other = folder.parent / experiment.reuse.extends
    if ledger.trials and not other.exists():
        return
    if experiment.ladder is not None and other.exists():  # made before the runs that follow
        known = set(ledger.predictions)
        for made in Ledger(other / "ledger.jsonl").predictions:
            if made not in known:
                ledger.append(made)
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
    """Give the file a second name, or make a copy where that can't be."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def with_failed_points(root: Path, experiment: Experiment) -> Experiment:
    """`experiment` with what diverged or found too little memory in those that it goes on from, and
    is not in its own plan: the advice at its end keeps short of it. It is copied, since they may be
    deleted."""
    points: list[FailedPoint] = []
    if experiment.reuse.extends is not None:
        points = _failed_points(root, experiment.reuse.extends, experiment)
    for name in experiment.reuse.warm_starts:
        others = _failed_points(root, name, experiment)
        points += [dataclasses.replace(point, warm=True) for point in others]
    first: dict[tuple[tuple[str, Value], ...], FailedPoint] = {}
    for point in points:  # the extended one's before the others'
        first.setdefault(tuple(sorted(point.values.items())), point)
    return experiment.replace(failed_points=tuple(first.values()))


def _failed_points(root: Path, name: str, experiment: Experiment) -> list[FailedPoint]:
    """Those of the experiment called `name` that differ from this one's base on its axes alone."""
    folder = find_experiment(root, name)
    other, axes = read_experiment(folder), experiment.space.axes
    if other.corpus.content_hash != experiment.corpus.content_hash:
        return []
    points = [p for p in other.reuse.failed_points if set(p.values) == set(axes)]
    for record in Ledger(folder / "ledger.jsonl").trials:
        reason = reason_of(record)
        if reason is None or is_planned(record, experiment):
            continue
        values = {axis: AXES[axis].value(record.config) for axis in axes}
        if without_seed(apply_axes(experiment.space.base, values)) == without_seed(record.config):
            points.append(FailedPoint(values=values, reason=reason))
    return points


def extension_line(root: Path, experiment: Experiment) -> str:
    """What is taken over, what is left out since it failed, and whether other code made it."""
    taken = len(finished_trials(root, experiment))
    assert experiment.reuse.extends is not None
    other = read_experiment(find_experiment(root, experiment.reuse.extends))
    code = "" if same_code_and_versions(other) else f", {DIFFERENT_CODE}"
    known_points = with_failed_points(root, experiment).reuse.failed_points
    failed = sum(not point.warm for point in known_points)
    known = f"; left out: {failed} that diverged or found too little memory" if failed else ""
    return (
        f"Extends    {experiment.reuse.extends}: {taken} of its trials are taken over{code}{known}"
    )
