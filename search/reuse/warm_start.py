"""`--warm-start NAME…`: a search that begins with what others on the same corpus found.

Two things are taken from each. Finished trials of this very plan (the same configuration, corpus
and seeds: the same trial id) go into the new ledger, as `--extend` has them, and are never trained
again. And a sampler is told every other result whose configuration differs from its base on its
axes alone, as a known point: those are kept in `experiment.json`, so that once the search has begun
the other experiments may be deleted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import COMPLETE, DIVERGED, STOPPED
from minigpt_search.search.records.experiment import Experiment, find_experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import KnownPoint
from minigpt_search.search.records.provenance import DIFFERENT_CODE, same_code_and_versions
from minigpt_search.search.results.configurations import by_configuration, without_seed
from minigpt_search.search.results.cost import cost_of_record
from minigpt_search.search.reuse.take_over import (
    copy_trials,
    counted_ends,
    in_space,
    is_planned,
)
from minigpt_search.search.space.axes import AXES, apply_axes
from minigpt_search.search.space.objective import SECONDS


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one experiment has for another."""

    name: str
    taken: tuple[TrialRecord, ...]
    """Finished trials of the new plan."""
    points: tuple[KnownPoint, ...]
    """For a sampler: further results in its ranges."""
    outside: tuple[TrialRecord, ...]
    """Outside of its ranges."""
    different: tuple[TrialRecord, ...]
    """Of configurations that differ elsewhere too."""
    reseeded: tuple[TrialRecord, ...]
    """Of a grid's cells, with seeds that are not in the plan."""
    repeated: tuple[TrialRecord, ...]
    """Those that an experiment named before it has too."""
    other_code: bool
    """Whether another version of the program, or of its libraries, made it."""

    @property
    def line(self) -> str:
        """What the plan says of it."""
        parts = [f"{_are(len(self.taken), 'trial')} taken over"]
        if self.points:
            parts.append(f"{_are(len(self.points), 'result')} told to the sampler")
        parts += [f"left out: {self.left_out}"] if self.left_out else []
        code = f"; {DIFFERENT_CODE}" if self.other_code else ""
        return f"Warm start {self.name}: {'; '.join(parts)}{code}"

    @property
    def left_out(self) -> str:
        """How many results can't be used for which reason; "" if all can."""
        reasons = (
            (self.outside, "outside of the ranges"),
            (self.different, "of other configurations"),
            (self.reseeded, "with other seeds (--seed, --seeds or --paired differs)"),
            (self.repeated, "that another one named before has too"),
        )
        return "; ".join(f"{len(each)} {why}{_diverged(each)}" for each, why in reasons if each)


def _diverged(records: Sequence[TrialRecord]) -> str:
    """How many of them did."""
    count = sum(record.status == DIVERGED for record in records)
    if count == 0:
        return ""
    return ", which diverged" if count == len(records) else f", of which {count} diverged"


def load_sources(root: Path, experiment: Experiment) -> list[Found]:
    """What the experiments named by `--warm-start` have; a trial that two of them have is the
    first's. Raises `UserError` if one is not there, is on another corpus or has nothing."""
    found: list[Found] = []
    known: set[str] = set()
    for name in experiment.reuse.warm_starts:
        folder = find_experiment(root, name)
        other = read_experiment(folder)
        if other.corpus.content_hash != experiment.corpus.content_hash:
            raise UserError(
                f"--warm-start {name}: it is on the corpus {other.corpus.name} with another "
                f"content than {experiment.corpus.name} here; losses on them don't compare"
            )
        ledger = Ledger(folder / "ledger.jsonl")
        ended = [t for t in ledger.trials if t.trial_id in ledger.ended()]
        new = [t for t in ended if t.trial_id not in known]
        repeated = [t for t in ended if t.trial_id in known]
        known |= {t.trial_id for t in new}
        one = _sort(name, experiment, new, repeated, not same_code_and_versions(other))
        if not one.taken and not one.points:
            reasons = f" ({one.left_out})" if one.left_out else ""
            raise UserError(
                f"--warm-start {name}: of its {counted_ends(ended)} none can be used{reasons}; "
                "leave it out"
            )
        found.append(one)
    return found


def check_that_some_are_left(root: Path, experiment: Experiment) -> None:
    """Raise `UserError` if a sampler would have nothing to try: what is taken over counts."""
    if (
        experiment.plan.sampler is None
        or not experiment.reuse.warm_starts
        or experiment.reuse.extends is not None
    ):
        return
    assert experiment.plan.samples is not None
    taken = by_configuration(t for found in load_sources(root, experiment) for t in found.taken)
    whole = sum(len(trials) == experiment.noise.seeds for trials in taken.values())
    if whole >= experiment.plan.samples:
        raise UserError(
            f"--trials {experiment.plan.samples}: --warm-start has {whole} configurations of this "
            "plan that ended, which count, so none is left to try; give more than "
            f"{whole}"
        )


def _sort(
    name: str,
    experiment: Experiment,
    ended: Sequence[TrialRecord],
    repeated: Sequence[TrialRecord],
    other_code: bool,
) -> Found:
    taken, points = [], []
    outside, different, reseeded = (list[TrialRecord]() for _ in range(3))
    for record in ended:
        values = {axis: AXES[axis].value(record.config) for axis in experiment.space.axes}
        if is_planned(record, experiment):
            taken.append(record)
        elif record.status == STOPPED:
            continue  # it has no loss, and its rungs are of that search
        elif not _same_but_for_axes(record, experiment):
            different.append(record)
        elif not in_space(experiment, values):
            outside.append(record)
        elif experiment.plan.sampler is None:
            reseeded.append(record)
        else:
            uniform = math.log(record.config.model.vocab_size)
            loss = record.final.val_loss_nats if record.status == COMPLETE else uniform
            seconds = cost_of_record(record, SECONDS)
            points.append(
                KnownPoint(values=values, objective=loss, seconds=seconds, status=record.status)
            )
    return Found(
        name=name,
        taken=tuple(taken),
        points=tuple(points),
        outside=tuple(outside),
        different=tuple(different),
        reseeded=tuple(reseeded),
        repeated=tuple(repeated),
        other_code=other_code,
    )


def _same_but_for_axes(record: TrialRecord, experiment: Experiment) -> bool:
    values = {name: AXES[name].value(record.config) for name in experiment.space.axes}
    expected = apply_axes(experiment.space.base, values)
    return without_seed(expected) == without_seed(record.config)


def is_mixed(root: Path, experiment: Experiment) -> bool:
    """Whether other code or libraries made what it takes over."""
    others = [found.name for found in load_sources(root, experiment) if found.taken]
    others += [experiment.reuse.extends] if experiment.reuse.extends is not None else []
    return not all(
        same_code_and_versions(read_experiment(find_experiment(root, name))) for name in others
    )


def with_known_points(root: Path, experiment: Experiment) -> Experiment:
    """`experiment` with all that its sampler is to be told; an extended one's known points too."""
    points = [point for found in load_sources(root, experiment) for point in found.points]
    if experiment.reuse.extends is not None and experiment.plan.sampler is not None:
        before = read_experiment(find_experiment(root, experiment.reuse.extends))
        if set(before.space.axes) == set(experiment.space.axes):
            points += [p for p in before.reuse.known_points if in_space(experiment, p.values)]
    return experiment.replace(known_points=tuple(points))


def take_over_warm(experiment: Experiment, folder: Path, ledger: Ledger) -> None:
    """Copy the finished trials of the plan into `ledger`, with their weights, from those
    experiments that are still there: a resumed search has most likely done it before."""
    root = folder.parents[1]
    there = [name for name in experiment.reuse.warm_starts if (folder.parent / name).is_dir()]
    experiment = experiment.replace(warm_starts=tuple(there))
    for found in load_sources(root, experiment):
        copy_trials(found.taken, folder.parent / found.name, folder, ledger)


def _are(count: int, noun: str) -> str:
    """`1 trial is`, `2 trials are`."""
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"
