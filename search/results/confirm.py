"""`--confirm K`: fresh seeds for the K best of a search, until the winner is told from the rest.

The number that a configuration was chosen by is too good: it was chosen for its luck too. So the
decision and the winner's number rest on fresh replicates alone, those from `experiment.seeds` on.
They are given in rounds: two each, then as many again to the leader and to each that is not
separated from it, and so on up to `--confirm-seeds`. After each round Welch's test looks at the
leader and every other; the looks and the competitors share the 5%
(`search.results.statistics.level`), so that looking often does not find differences where there are
none (`tests/search/results/test_confirm.py` draws 2,000 searches).

The ledger is the truth here too: the rounds are gone through from the first at each call, so what
is due after a kill is what was due before it. No torch, no Ray: reports ask it who won.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger, TrialRecord
from minigpt_search.search.results.configurations import Cell, cells, ranked
from minigpt_search.search.results.statistics import level, separated

FIRST_ROUND = 2
"""Fresh replicates before the first look: one says nothing of the spread."""


def looks(most: int) -> list[int]:
    """Fresh replicates of a candidate at each look: 2, 4, 8, ... and `most`. Doubling costs a
    winner at most twice the seeds that it needed, and leaves each look more of the 5% than one
    look a seed would."""
    counts = [FIRST_ROUND]
    while counts[-1] < most:
        counts.append(min(2 * counts[-1], most))
    return counts


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How the confirmation stands."""

    candidates: tuple[Cell, ...]
    """The K best of the search, by its own numbers."""
    due: tuple[tuple[Cell, int], ...]
    """What the present round lacks: configurations and replicates. Empty when it has ended."""
    leader: Cell | None
    """Lowest mean over fresh replicates at the last whole round; None before the first."""
    open: tuple[Cell, ...]
    """Candidates that the leader is not separated from."""
    alpha: float
    """The level of each single test."""


def standing(
    experiment: Experiment, ledger: Ledger, settled: Collection[str] | None = None
) -> Standing | None:
    """Go through the rounds as far as the ledger goes; None without `--confirm` or any result.

    Args:
        settled: ids of trials that are not to be tried again; all of the ledger's by default.
    """
    if experiment.noise.confirm is None:
        return None
    candidates = ranked(cells(experiment, ledger))[: experiment.noise.confirm]
    if not candidates:
        return None
    first, counts = experiment.noise.seeds, looks(experiment.noise.confirm_seeds)
    tried = {
        cell.config: {
            t.replicate: t for t in cell.trials if settled is None or t.trial_id in settled
        }
        for cell in candidates
    }
    alpha = level(len(counts), len(candidates) - 1)
    racing, leader, still = candidates, None, candidates
    due: list[tuple[Cell, int]] = []
    for count in counts:
        fresh = range(first, first + count)
        due = [(c, r) for r in fresh for c in racing if r not in tried[c.config]]
        if due:
            break
        leader, still = _look(candidates, tried, fresh, alpha)
        if leader is None or not still:
            break
        racing = [cell for cell in candidates if cell is leader or cell in still]
    return Standing(
        candidates=tuple(candidates),
        due=tuple(due),
        leader=leader,
        open=tuple(cell for cell in still if cell is not leader),
        alpha=alpha,
    )


def _look(
    candidates: Sequence[Cell],
    tried: Mapping[RunConfig, Mapping[int, TrialRecord]],
    replicates: range,
    alpha: float,
) -> tuple[Cell | None, list[Cell]]:
    """The leader, and those not separated from it. A candidate that diverged with a fresh seed is
    out if another did not; so is one of which no fresh seed came to a result."""
    seen = {
        c.config: [t for r, t in tried[c.config].items() if r in replicates] for c in candidates
    }
    results = {
        c.config: [t.final.val_loss_nats for t in seen[c.config] if t.status == COMPLETE]
        for c in candidates
    }
    left = [c for c in candidates if results[c.config]]
    steady = [c for c in left if all(t.status != DIVERGED for t in seen[c.config])]
    left = steady or left
    if not left:
        return None, []
    leader = min(left, key=lambda c: sum(results[c.config]) / len(results[c.config]))
    mine = results[leader.config]
    others = [c for c in left if c is not leader]
    return leader, [c for c in others if not separated(mine, results[c.config], alpha)]


def is_fresh(experiment: Experiment, record: TrialRecord) -> bool:
    """Whether the record is one of confirming, not of the search."""
    return record.replicate >= experiment.noise.seeds


def missing_trials(experiment: Experiment, ledger: Ledger) -> int:
    """Trials of the search that have not ended, or else of the present round of confirming."""
    ended = ledger.ended()
    searched = [t for t in ledger.trials if t.trial_id in ended and not is_fresh(experiment, t)]
    if len(searched) < experiment.planned_trials:
        return experiment.planned_trials - len(searched)
    now = standing(experiment, ledger, ended)
    return len(now.due) if now else 0


def trials_so_far(experiment: Experiment, ledger: Ledger) -> int:
    """Trials that ended and those known to be missing: how many a confirmation takes is decided as
    it goes."""
    return len(ledger.ended()) + missing_trials(experiment, ledger)
