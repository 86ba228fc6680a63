"""`--confirm K`: fresh seeds for the K best of a search, until the winner is told from the rest.

The number that a configuration was chosen by is too good: it was chosen for its luck too. So the
decision and the winner's number rest on fresh replicates alone, those from `experiment.seeds` on.
They are given in rounds: two each, then as many again to the leader and to each that is not
separated from it, and so on up to `--confirm-seeds`. After each round Welch's test, or a paired one
where replicates share their seeds, looks at the leader and every other; the looks and the pairs of
candidates share the 5%, of which the last look has nearly all
(`search.results.statistics.late_levels`), so that looking often neither finds differences where
there are none nor costs much of those that are there (`tests/search/results/test_coverage.py` draws
the searches). With one variance for both, Student's test, 1 of 100 more would be found, but of two
that spread 1 to 5 equal ones be told apart in 7.6.

The ledger is the truth here too: the rounds are gone through from the first at each call, so what
is due after a kill is what was due before it. No torch, no Ray: reports ask it who won.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import LATE
from minigpt_search.search.results.configurations import (
    Configuration,
    losses_by_replicate,
    ranked,
)
from minigpt_search.search.results.statistics import (
    MeansTest,
    compare_means,
    fair_means,
    late_levels,
    level,
    separates,
)

FIRST_ROUND = 2
"""Fresh replicates before the first look: one says nothing of the spread."""


def interim_seed_counts(most: int) -> list[int]:
    """Fresh replicates of a candidate at each look: 2, 4, 8, ... and `most`. Doubling costs a
    winner at most twice the seeds that it needed, and leaves each look more of the 5% than one
    look a seed would."""
    counts = [FIRST_ROUND]
    while counts[-1] < most:
        counts.append(min(2 * counts[-1], most))
    return counts


@dataclass(frozen=True, kw_only=True)
class ConfirmationState:
    """How far the confirmation has come."""

    candidates: tuple[Configuration, ...]
    """The K best of the search, by its own numbers."""
    due: tuple[tuple[Configuration, int], ...]
    """What the present round lacks: configurations and replicates. Empty when it has ended."""
    leader: Configuration | None
    """Lowest mean over fresh replicates at the last whole round; None before the first."""
    open: tuple[Configuration, ...]
    """Candidates that the leader is not separated from."""
    tests: Mapping[RunConfig, MeansTest | None]
    """Of the leader against each other, on the replicates that the last whole round looked at."""
    alpha: float
    """The level of each single test at the last whole round; before there is one, at the first."""
    looks: int
    """Rounds at the most, which share the 5%."""
    late: bool
    """Whether the last has nearly all of it; else each as much."""


def confirmation_state(
    experiment: Experiment,
    configurations: list[Configuration],
    finished_ids: Collection[str] | None = None,
) -> ConfirmationState | None:
    """Go through the rounds as far as the trials go; None without `--confirm` or any result.

    Args:
        configurations: all of the ledger's.
        finished_ids: ids of trials that are not to be tried again; all of the ledger's by default.
    """
    if experiment.noise.confirm is None:
        return None
    candidates = ranked(configurations)[: experiment.noise.confirm]
    if not candidates:
        return None
    first, counts = experiment.noise.seeds, interim_seed_counts(experiment.noise.confirm_seeds)
    tried = {
        each.config: {
            t.replicate: t
            for t in each.trials
            if finished_ids is None or t.trial_id in finished_ids
        }
        for each in candidates
    }
    late = experiment.noise.spending == LATE
    levels = _levels(late, counts, len(candidates))
    alpha = levels[0]
    racing, leader, still = candidates, None, candidates
    tests: dict[RunConfig, MeansTest | None] = {}
    due: list[tuple[Configuration, int]] = []
    for count, at_this_look in zip(counts, levels, strict=True):
        fresh = range(first, first + count)
        due = [(c, r) for r in fresh for c in racing if r not in tried[c.config]]
        if due:
            break
        leader, tests = _look(candidates, tried, fresh, paired=experiment.noise.paired)
        alpha = at_this_look
        still = [
            c for c in candidates if c.config in tests and not separates(tests[c.config], alpha)
        ]
        if leader is None or not still:
            break
        racing = [each for each in candidates if each is leader or each in still]
    return ConfirmationState(
        candidates=tuple(candidates),
        due=tuple(due),
        leader=leader,
        open=tuple(each for each in still if each is not leader),
        tests=tests,
        alpha=alpha,
        looks=len(counts),
        late=late,
    )


def _levels(late: bool, counts: Sequence[int], compared: int) -> Sequence[float]:
    """Of each single test at each look."""
    if late:
        return late_levels(tuple(counts), compared)
    return [level(len(counts), compared)] * len(counts)


def _look(
    candidates: Sequence[Configuration],
    tried: Mapping[RunConfig, Mapping[int, TrialRecord]],
    replicates: range,
    *,
    paired: bool,
) -> tuple[Configuration | None, dict[RunConfig, MeansTest | None]]:
    """The leader, and its test against each other that is left. A candidate that diverged with a
    fresh seed is out if another did not; so is one of which no fresh seed came to a result."""
    seen = {
        c.config: [t for r, t in tried[c.config].items() if r in replicates] for c in candidates
    }
    results = {
        c.config: losses_by_replicate(t for t in seen[c.config] if t.status == COMPLETE)
        for c in candidates
    }
    left = [c for c in candidates if results[c.config]]
    steady = [c for c in left if all(t.status != DIVERGED for t in seen[c.config])]
    left = steady or left
    if not left:
        return None, {}
    means = fair_means([results[c.config] for c in left], paired=paired)
    leader = left[means.index(min(means))]
    mine = results[leader.config]
    others = [c for c in left if c is not leader]
    return leader, {c.config: compare_means(mine, results[c.config], paired=paired) for c in others}


def is_fresh(experiment: Experiment, record: TrialRecord) -> bool:
    """Whether the record is one of confirming, not of the search."""
    return record.replicate >= experiment.noise.seeds
