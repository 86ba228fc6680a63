"""Which configuration wins, and how sure that is: the one place that decides it.

After `--confirm` the fresh replicates decide and give the winner's number: the number that it was
chosen by is too good, since it was chosen for its luck too. Else the search's own numbers decide,
the mean over replicates where there are several. No torch, no Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger, TrialRecord
from minigpt_search.search.results.configurations import (
    Cell,
    cells,
    diverged,
    losses,
    mean_loss,
    ranked,
)
from minigpt_search.search.results.confirm import Standing, standing
from minigpt_search.search.results.statistics import (
    Estimate,
    Welch,
    estimate,
    level,
    probability_best,
    separated,
    welch,
)


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The configuration to use."""

    cell: Cell
    trial: TrialRecord
    """The trial that stands for it: `rerun.py` trains it again."""
    fresh: bool
    """Whether its number is of fresh replicates."""
    estimate: Estimate
    probability: float | None
    """That it is really the best of those compared; None where one seed each says nothing."""
    rivals: tuple[Cell, ...]
    """The others that were compared, the closest first."""
    unsteady: tuple[Cell, ...]
    """Those left out of the comparison: they diverged with a seed, and it did not."""
    open: tuple[Cell, ...]
    """Those of them that it is not separable from; without replicates that can't be told, and
    they are all here."""
    test: Welch | None
    """Against the closest of `open`, or of all rivals where it is separated from each."""


def winner(experiment: Experiment, ledger: Ledger) -> Winner | None:
    """The winner and how sure; None if no trial is complete."""
    found = _choose(experiment, ledger)
    if found is None:
        return None
    best, fresh, now = found
    trials: Callable[[Cell], tuple[TrialRecord, ...]] = (
        (lambda cell: cell.fresh) if fresh else (lambda cell: cell.searched)
    )
    compared = list(now.candidates) if now and fresh else ranked(cells(experiment, ledger))
    rivals = [cell for cell in compared if cell.config != best.config and trials(cell)]
    rivals.sort(key=lambda cell: mean_loss(trials(cell)))
    steady = not diverged(best, fresh=fresh)
    unsteady = [cell for cell in rivals if steady and diverged(cell, fresh=fresh)]
    rivals = [cell for cell in rivals if cell not in unsteady]
    groups = [losses(trials(cell)) for cell in (best, *rivals)]
    alpha = level(1, len(rivals))
    still = (
        [cell for cell in rivals if cell.config in {c.config for c in now.open}]
        if now and fresh
        else [
            c
            for c, other in zip(rivals, groups[1:], strict=True)
            if not separated(groups[0], other, alpha)
        ]
    )
    shares = probability_best(groups) if rivals else None
    closest = (still or rivals)[:1]
    return Winner(
        cell=best,
        trial=_stands_for(best, fresh),
        fresh=fresh,
        estimate=estimate(groups[0]),
        probability=shares[0] if shares else None,
        rivals=tuple(rivals),
        unsteady=tuple(unsteady),
        open=tuple(still),
        test=welch(groups[0], losses(trials(closest[0]))) if closest else None,
    )


def why_none(experiment: Experiment, ledger: Ledger) -> str:
    """Why there is no winner."""
    complete = len(ledger.complete())
    if complete == 0:
        return "no trial is complete"
    which = (
        "the only complete trial costs" if complete == 1 else f"all {complete} complete trials cost"
    )
    return f"{which} more than --max-cost {experiment.plan.max_cost}"


def winning_trial(experiment: Experiment, ledger: Ledger) -> TrialRecord | None:
    """The trial that stands for the winner; None if no trial is complete."""
    found = _choose(experiment, ledger)
    return None if found is None else _stands_for(found[0], found[1])


def _choose(experiment: Experiment, ledger: Ledger) -> tuple[Cell, bool, Standing | None] | None:
    """The winner, whether fresh replicates say so, and the confirmation if there is one."""
    now = standing(experiment, ledger)
    if now is not None and now.leader is not None:
        return now.leader, True, now
    found = ranked(cells(experiment, ledger))
    return (found[0], False, now) if found else None


def _stands_for(cell: Cell, fresh: bool) -> TrialRecord:
    """Of fresh replicates the first, which no loss chose; else the best trial, as the search has
    it."""
    if fresh:
        return cell.fresh[0]
    return min(cell.searched, key=lambda trial: trial.final.val_loss_nats)
