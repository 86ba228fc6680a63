"""What a ledger has to say about a claim: configurations, their replicates, intervals and verdicts.

Intervals are 95%. With two or more seeds of both a difference has Welch's t-interval, or that of
the pairs where the design is paired; else
the spread between seeds is that of all replicated configurations of the ledger together, and where
there are none, an assumed one, so that a single run settles large differences only.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.records import EpochRecord
from minigpt_search.search.records.ledger import TrialRecord
from minigpt_search.search.results.configurations import by_configuration, losses, without_seed
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import (
    CONFIDENCE,
    difference_error,
    estimate,
    pool,
    t_quantile,
)
from minigpt_search.search.space.axes import AXES, apply_axes
from minigpt_search.search.space.claims_grid import lengths_for
from minigpt_search.search.space.presets import PRESETS

HOLDS, FAILS, UNTOLD, NOT_RUN = "holds", "doesn't hold", "can't be told", "not run"
ASSUMED_SPREAD_NATS = 0.05
"""Standard deviation between seeds where none was measured. Three seeds of the quick preset at 2e-3
came to 7.36, 7.40 and 7.45 (2026-11-22)."""
WHOLE_CORPUS_TOKENS = 9_000_000
"""Fewer training tokens are not the assignment's 10 million."""
Measure = Callable[[EpochRecord], float]


def val_loss(end: EpochRecord) -> float:
    return end.val_loss_nats


def val_bits(end: EpochRecord) -> float:
    return end.val_bits_per_byte


def train_loss(end: EpochRecord) -> float:
    """What the assignment's report calls loss: it had no validation split."""
    return end.train_loss_nats


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its 95% interval."""

    mean: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> Interval:
        """Through a monotone function."""
        low, high = sorted((function(self.low), function(self.high)))
        return Interval(mean=function(self.mean), low=low, high=high)

    def text(self, pattern: str) -> str:
        """`7.30 [7.25, 7.35]`."""
        return "{} [{}, {}]".format(*map(pattern.format, (self.mean, self.low, self.high)))


def judge_negative(interval: Interval) -> str:
    """The verdict on a claim that something is below zero."""
    if interval.high < 0:
        return HOLDS
    return FAILS if interval.low > 0 else UNTOLD


def judge_within(interval: Interval, low: float, high: float) -> str:
    """The verdict on a claim that something lies between `low` and `high`: the whole interval
    must."""
    if low <= interval.low and interval.high <= high:
        return HOLDS
    return FAILS if interval.high < low or interval.low > high else UNTOLD


def judge_all(verdicts: Sequence[str]) -> str:
    """The verdict on a claim of several parts: it fails with one of them and holds with all."""
    for verdict in (FAILS, NOT_RUN, UNTOLD):
        if verdict in verdicts:
            return verdict
    return HOLDS


class Evidence:
    """The complete trials of one experiment, around its base configuration."""

    def __init__(self, results: Results) -> None:
        experiment = self.experiment = results.experiment
        self.trials = results.complete
        self.lengths = lengths_for(experiment.space.base.train.epochs)
        self.baseline = without_seed(experiment.space.base)
        self._replicates = by_configuration(self.trials)
        pooled = pool([losses(trials) for trials in self._replicates.values()])
        self.spread_nats: float = pooled[0] if pooled else ASSUMED_SPREAD_NATS
        self.spread_df: float = pooled[1] if pooled else math.inf  # degrees of freedom

    def replicates(self, **values: float) -> list[TrialRecord]:
        """The replicates of the baseline with these axes' values."""
        return self._replicates.get(apply_axes(self.baseline, values), [])

    def level(
        self, replicates: Sequence[TrialRecord], measure: Measure, nat: float = 1.0
    ) -> Interval:
        """The mean over replicates, one at least. A `nat` of validation loss is so much in what
        `measure` gives: the spread between seeds is in nats."""
        known = estimate([measure(trial.final) for trial in replicates])
        if known.low is None or known.high is None:
            return _interval(known.mean, self.spread_nats * nat, self.spread_df)
        return Interval(mean=known.mean, low=known.low, high=known.high)

    def difference(
        self,
        one: Sequence[TrialRecord],
        other: Sequence[TrialRecord],
        measure: Measure,
        nat: float = 1.0,
    ) -> Interval:
        """Mean of `one` less the mean of `other`, which may be of another search: by their seeds;
        `nat` as for `level`."""
        first = {trial.config.train.seed: measure(trial.final) for trial in one}
        second = {trial.config.train.seed: measure(trial.final) for trial in other}
        found = difference_error(first, second, paired=self.experiment.noise.paired)
        if found is not None:
            return _interval(*found)
        mean = statistics.fmean(first.values()) - statistics.fmean(second.values())
        error = self.spread_nats * nat * math.sqrt(1 / len(first) + 1 / len(second))
        return _interval(mean, error, self.spread_df)

    def recipe_differences(self) -> list[str]:
        """Where the baseline differs from the assignment's recipe on 10 million tokens."""
        usual = PRESETS["full"].replace(precision=self.baseline.train.precision)
        found = [
            f"{field.name} {_shown(getattr(mine, field.name))} instead of "
            f"{_shown(getattr(theirs, field.name))}"
            for mine, theirs in (
                (self.baseline.model, usual.model),
                (self.baseline.train, usual.train),
            )
            for field in dataclasses.fields(mine)
            if getattr(mine, field.name) != getattr(theirs, field.name)
        ]
        tokens = self.experiment.corpus.manifest["splits"]["train"]["tokens"]
        if tokens < WHOLE_CORPUS_TOKENS:
            found.append(f"a corpus of {tokens:,} training tokens")
        return found

    @property
    def as_claimed(self) -> bool:
        """Whether absolute numbers can be compared with the assignment's."""
        return not self.recipe_differences()

    def rule(self) -> str:
        """How far noise was considered, in a sentence."""
        if math.isinf(self.spread_df):
            source = (
                f"no configuration has two seeds, so a spread of {self.spread_nats:g} nats is "
                "assumed between them"
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
            f"differences), each claim tested by itself; {source}. A claim holds if its whole "
            "interval agrees with it, does not hold if none of it does, and can't be told "
            "otherwise."
        )


def _interval(mean: float, error: float, degrees: float) -> Interval:
    # Where no spread was measured the normal's quantile: scipy's t has none for infinity.
    reach = error * (1.959964 if math.isinf(degrees) else t_quantile(0.5 + CONFIDENCE / 2, degrees))
    return Interval(mean=mean, low=mean - reach, high=mean + reach)


def _shown(value: object) -> str:
    return "unset" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def values_text(values: dict[str, float]) -> str:
    """`lr 0.001, epochs 3`."""
    return ", ".join(f"{name} {AXES[name].show(value)}" for name, value in values.items())
