"""What a ledger has to say about claims: configurations, their replicates, and the noise of both.

With two or more seeds of both a difference has Welch's standard error, or
that of the pairs where the design is paired; else the spread between
seeds is that of all replicated configurations of the ledger together, and where there are none, an
assumed one (`PRIOR_SD`, as uncertain as one of `PRIOR_DF` degrees of freedom), so that a single run
settles large differences only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import DIVERGED, EpochRecord
from minigpt_search.reports.claims.noise import Claimed, Noisy
from minigpt_search.reports.claims.recipe import differences
from minigpt_search.search.records.ledger_records import BaselineRecord, TrialRecord
from minigpt_search.search.results.baselines import baseline_of
from minigpt_search.search.results.best_rate import PRIOR_DF
from minigpt_search.search.results.configurations import by_configuration, losses, without_seed
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import (
    ALPHA,
    CONFIDENCE,
    PRIOR_SD,
    difference_error,
    pool,
)
from minigpt_search.search.space.axes import AXES, apply_axes
from minigpt_search.search.space.claims_grid import lengths_for

Measure = Callable[[EpochRecord], float]


def val_loss(end: EpochRecord) -> float:
    return end.val_loss_nats


def val_bits(end: EpochRecord) -> float:
    return end.val_bits_per_byte


def train_loss(end: EpochRecord) -> float:
    """What the recipe's report calls loss: it had no validation split."""
    return end.train_loss_nats


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the test of a claim came to."""

    measured: str = ""
    claimed: Claimed | None = None
    """The p-values, where the verdict comes from noise."""
    by_points: bool = False
    """Whether that noise is of points within runs; else it is between seeds."""
    verdict: str | None = None
    """The verdict, where it doesn't."""
    missing: str | None = None
    """The verdict where a part is missing and the rest does not refute the claim."""


class Evidence:
    """The complete trials of one experiment, around its base configuration."""

    def __init__(self, results: Results) -> None:
        experiment = self.experiment = results.experiment
        self.trials = results.complete
        self.reruns = results.reruns
        self.baselines = results.baselines
        self.lengths = lengths_for(experiment.space.base.train.epochs)
        self.baseline = without_seed(experiment.space.base)
        self._diverged = [without_seed(t.config) for t in results.trials if t.status == DIVERGED]
        self._replicates = by_configuration(self.trials)
        pooled = pool([losses(trials) for trials in self._replicates.values()])
        self.spread_is_assumed = pooled is None
        self.spread_nats, self.spread_df = pooled or (PRIOR_SD, PRIOR_DF)

    def replicates(self, **values: float) -> list[TrialRecord]:
        """The replicates of the baseline with these axes' values."""
        return self._replicates.get(apply_axes(self.baseline, values), [])

    @property
    def at_size(self) -> bool:
        """Whether absolute numbers can be compared with the recipe's: its recipe, at its size,
        on whatever text."""
        return not differences(self.experiment)

    @property
    def extended(self) -> list[TrialRecord]:
        """The replicates that stand for the recipe's final model, of 10 epochs."""
        return self.replicates(epochs=self.lengths.extended)

    def diverged(self, **values: float) -> int:
        """How many replicates of the baseline with these axes' values diverged."""
        return self._diverged.count(apply_axes(self.baseline, values))

    def counting(self, trials: Sequence[TrialRecord]) -> BaselineRecord | None:
        """What counting scores on the text of these replicates; None where the ledger hasn't it."""
        return baseline_of(self.baselines, trials[0].config) if trials else None

    def level(self, replicates: Sequence[TrialRecord], measure: Measure, nat: float = 1.0) -> Noisy:
        """The mean over replicates, one at least. A `nat` of validation loss is so much in what
        `measure` gives: the spread between seeds is in nats."""
        return self._mean([measure(trial.final) for trial in replicates], self.spread_nats * nat)

    def within_runs(
        self, replicates: Sequence[TrialRecord], difference: Callable[[TrialRecord], float]
    ) -> Noisy:
        """The mean over replicates, one at least, of the difference of two losses of one run."""
        return self._mean([difference(t) for t in replicates], self.spread_nats * math.sqrt(2))

    def after_epoch(self, replicates: Sequence[TrialRecord], epoch: int) -> Noisy:
        """The mean training loss of an epoch, counted from 1, over replicates, one at least."""
        losses_then = [trial.epochs[epoch - 1].train_loss_nats for trial in replicates]
        return self._mean(losses_then, self.spread_nats)

    def _mean(self, values: Sequence[float], spread_of_one: float) -> Noisy:
        mean, n = statistics.fmean(values), len(values)
        if n < 2:
            return Noisy(mean=mean, error=spread_of_one, degrees=self.spread_df)
        return Noisy(mean=mean, error=statistics.stdev(values) / math.sqrt(n), degrees=n - 1)

    def difference(
        self,
        one: Sequence[TrialRecord],
        other: Sequence[TrialRecord],
        measure: Measure,
        nat: float = 1.0,
    ) -> Noisy:
        """Mean of `one` less the mean of `other`, which may be of another search: by their seeds;
        `nat` as for `level`."""
        first = {trial.config.train.seed: measure(trial.final) for trial in one}
        second = {trial.config.train.seed: measure(trial.final) for trial in other}
        found = difference_error(first, second, paired=self.experiment.noise.paired)
        if found is not None:
            mean, error, degrees = found
            return Noisy(mean=mean, error=error, degrees=degrees)
        mean = statistics.fmean(first.values()) - statistics.fmean(second.values())
        error = self.spread_nats * nat * math.sqrt(1 / len(first) + 1 / len(second))
        return Noisy(mean=mean, error=error, degrees=self.spread_df)

    def rule(self) -> str:
        """How far noise was considered, in sentences."""
        right = f"right with a probability of {1 - ALPHA:.0%} at least"
        if self.spread_is_assumed:
            right += ", as far as the assumed spread is"
            source = (
                f"no configuration has two seeds, so a spread of {self.spread_nats:g} nats is "
                f"assumed between them, not measured, and taken as no surer than one of "
                f"{self.spread_df} degrees of freedom"
            )
        else:
            source = (
                f"where a configuration has one seed, the spread between the seeds of the others, "
                f"{self.spread_nats:.4f} nats ({counted(int(self.spread_df), 'degree')} of "
                "freedom), stands in"
            )
        which = "" if self.experiment.noise.confirm is None else ", the search's and fresh ones"
        kind = "paired" if self.experiment.noise.paired else "Welch's"
        return (
            f"Intervals are {CONFIDENCE:.0%} t-intervals over seeds{which} ({kind} for "
            f"differences), each by itself; {source}. Verdicts that come from noise are settled "
            f"together, by Holm's procedure: where the p-value that it adjusts is at most {ALPHA}, "
            f"a claim holds or doesn't, else it can't be told, so that all of them are {right}. An "
            "interval that leaves a claim's limit out "
            "may thus belong to a claim that can't be told."
        )


def values_text(values: dict[str, float]) -> str:
    """`lr 0.001, epochs 3`."""
    return ", ".join(f"{name} {AXES[name].show(value)}" for name, value in values.items())
