"""Which configuration wins, and how sure that is: the one place that decides it.

After `--confirm` the fresh replicates decide and give the winner's number: the number that it was
chosen by is too good, since it was chosen for its luck too. Else the search's own numbers decide,
the mean over replicates where there are several. No torch, no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.configurations import (
    Configuration,
    diverged,
    losses,
    losses_by_replicate,
    ranked,
)
from minigpt_search.search.results.confirm import ConfirmationState
from minigpt_search.search.results.statistics import (
    Estimate,
    MeansTest,
    compare_means,
    estimate,
    fair_means,
    level,
    pair_count,
    separates,
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
        first, which no loss chose; else the median one, of an even number the higher of the two in
        the middle: the best is the luckiest."""
        trials = self.trials(self.configuration)
        ordered = sorted(trials, key=lambda t: t.final.val_loss_nats)
        return trials[0] if self.fresh else ordered[len(ordered) // 2]

    @property
    def why(self) -> str:
        """Which of its seeds that is, in words; nothing where there is one."""
        if len(self.trials(self.configuration)) == 1:
            return ""
        n = len(self.trials(self.configuration))
        return f"the first of its {n} fresh seeds" if self.fresh else f"the median of its {n} seeds"


@dataclass(frozen=True, kw_only=True)
class Winner(Choice):
    """The configuration to use, and how sure that is."""

    estimate: Estimate
    rivals: tuple[Configuration, ...]
    """The others that were compared, the closest first."""
    unsteady: tuple[Configuration, ...]
    """Those left out of the comparison: they diverged with a seed, and it did not."""
    open: tuple[Configuration, ...]
    """Those of them that it is not separable from; without replicates that can't be told, and
    they are all here."""
    means: Mapping[RunConfig, float]
    """Of it and the rivals, in nats, as they are compared (`statistics.fair_means`)."""
    tests: Mapping[RunConfig, MeansTest | None]
    """Against each rival, those that decided; None where there is one replicate of either."""
    alpha: float
    """The level of each single test."""
    looks: int
    """How often they share the 5%: the rounds of `--confirm`."""
    late: bool
    """Whether the last look has nearly all of it; else each as much."""
    pairs: int
    """Pairs of configurations that share it."""

    @property
    def test(self) -> MeansTest | None:
        """Against the closest of `open`, or of all rivals where it is separated from each."""
        closest = (self.open or self.rivals)[:1]
        return self.tests.get(closest[0].config) if closest else None

    def behind(self, rival: Configuration) -> float:
        """By how many nats the rival's mean is above the winner's."""
        return self.means[rival.config] - self.means[self.configuration.config]


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
    found = {each.config: losses_by_replicate(trials(each)) for each in (best, *rivals)}
    means = dict(zip(found, fair_means(list(found.values()), paired=best.paired), strict=True))
    rivals.sort(key=lambda each: means[each.config])
    steady = not diverged(best, fresh=fresh)
    unsteady = [each for each in rivals if steady and diverged(each, fresh=fresh)]
    rivals = [each for each in rivals if each not in unsteady]
    mine = found[best.config]
    tests = {
        each.config: compare_means(mine, found[each.config], paired=best.paired) for each in rivals
    }
    looks, alpha, pairs = 1, level(1, 1 + len(rivals)), pair_count(1 + len(rivals))
    if confirmed:
        tests, looks, alpha = dict(confirmed.tests), confirmed.looks, confirmed.alpha
        pairs = pair_count(len(confirmed.candidates))
    still = [each for each in rivals if not separates(tests.get(each.config), alpha)]
    return Winner(
        configuration=best,
        fresh=fresh,
        estimate=estimate(losses(trials(best))),
        rivals=tuple(rivals),
        unsteady=tuple(unsteady),
        open=tuple(still),
        means=means,
        tests=tests,
        alpha=alpha,
        looks=looks,
        late=confirmed is not None and confirmed.late,
        pairs=pairs,
    )
