"""Which configuration wins, and how sure that is: the one place that decides it.

After `--confirm` the fresh replicates decide and give the winner's number: the number that it was
chosen by is too good, since it was chosen for its luck too. Else the search's own numbers decide,
the mean over replicates where there are several. No torch, no Ray.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigpt_search.search.records.ledger import TrialRecord
from minigpt_search.search.results.configurations import (
    Configuration,
    diverged,
    losses,
    mean_loss,
    ranked,
)
from minigpt_search.search.results.confirm import ConfirmationState
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
class Choice:
    """The configuration that wins, without how sure that is."""

    configuration: Configuration
    fresh: bool
    """Whether fresh replicates say so, and its number is theirs."""

    def trials(self, one: Configuration) -> tuple[TrialRecord, ...]:
        """Those of `one` that decide: its fresh ones, or else the search's."""
        return one.fresh if self.fresh else one.searched

    @property
    def trial(self) -> TrialRecord:
        """The trial that stands for it, which `rerun.py` trains again: of fresh replicates the
        first, which no loss chose; else the best, as the search has it."""
        trials = self.trials(self.configuration)
        return trials[0] if self.fresh else min(trials, key=lambda t: t.final.val_loss_nats)


@dataclass(frozen=True, kw_only=True)
class Winner(Choice):
    """The configuration to use, and how sure that is."""

    estimate: Estimate
    probability: float | None
    """That it is really the best of those compared; None where one seed each says nothing."""
    rivals: tuple[Configuration, ...]
    """The others that were compared, the closest first."""
    unsteady: tuple[Configuration, ...]
    """Those left out of the comparison: they diverged with a seed, and it did not."""
    open: tuple[Configuration, ...]
    """Those of them that it is not separable from; without replicates that can't be told, and
    they are all here."""
    test: Welch | None
    """Against the closest of `open`, or of all rivals where it is separated from each."""


def choose(
    configurations: list[Configuration], confirmation: ConfirmationState | None
) -> Choice | None:
    """The configuration that wins; None if no trial is complete within `--max-cost`."""
    if confirmation is not None and confirmation.leader is not None:
        return Choice(configuration=confirmation.leader, fresh=True)
    found = ranked(configurations)
    return Choice(configuration=found[0], fresh=False) if found else None


def find_winner(
    configurations: list[Configuration],
    choice: Choice | None,
    confirmation: ConfirmationState | None,
) -> Winner | None:
    """The winner that `choose` found and how sure it is; None if it found none."""
    if choice is None:
        return None
    best, fresh, trials = choice.configuration, choice.fresh, choice.trials
    confirmed = confirmation if fresh else None
    compared = confirmed.candidates if confirmed else ranked(configurations)
    rivals = [each for each in compared if each.config != best.config and trials(each)]
    rivals.sort(key=lambda each: mean_loss(trials(each)))
    steady = not diverged(best, fresh=fresh)
    unsteady = [each for each in rivals if steady and diverged(each, fresh=fresh)]
    rivals = [each for each in rivals if each not in unsteady]
    groups = [losses(trials(each)) for each in (best, *rivals)]
    alpha = level(1, len(rivals))
    still = (
        [each for each in rivals if each.config in {c.config for c in confirmed.open}]
        if confirmed
        else [
            c
            for c, other in zip(rivals, groups[1:], strict=True)
            if not separated(groups[0], other, alpha)
        ]
    )
    shares = probability_best(groups) if rivals else None
    closest = (still or rivals)[:1]
    return Winner(
        configuration=best,
        fresh=fresh,
        estimate=estimate(groups[0]),
        probability=shares[0] if shares else None,
        rivals=tuple(rivals),
        unsteady=tuple(unsteady),
        open=tuple(still),
        test=welch(groups[0], losses(trials(closest[0]))) if closest else None,
    )
