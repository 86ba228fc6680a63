"""Optuna's samplers inside Ray Tune, with the ledger as their memory.

The study lives in memory and is rebuilt from the ledger at each start. The random stream of a
suggestion is seeded from the search's seed and the suggestion's number, so that at concurrency 1
a resumed search suggests what an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from model.records import COMPLETE, DIVERGED
from search.axes import AXES
from search.trainable import OBJECTIVE

MOST_REPEATS_OF_SAMPLER, MOST_REPEATS = 20, 2000
"""After so many repeats on end values are drawn evenly; after so many, there are no new ones."""
Values = tuple[tuple[str, float], ...]
_PREFIX = "values/"
"""Tune nests `values/lr` as {"values": {"lr": ...}}, which is what the trainable takes."""


def make_space(ranges: Mapping[str, Sequence[float]]) -> dict[str, BaseDistribution]:
    """Optuna's distributions for the axes' (low, high), by Tune's nested names."""
    return {_PREFIX + name: axis_distribution(name, *bounds) for name, bounds in ranges.items()}


def axis_distribution(name: str, low: float, high: float) -> BaseDistribution:
    """What Optuna may suggest for an axis between `low` and `high`, both included."""
    axis = AXES[name]
    if not axis.integer:
        return FloatDistribution(low, high, log=axis.log)
    if axis.log:
        return IntDistribution(int(low), int(high), log=True)
    return IntDistribution(int(low), int(high), step=axis.step_between(low, high))


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler called `name`. Its options are Optuna 5's defaults, pinned by name."""
    assert name == "tpe", name
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def suggestion_seed(base_seed: int, number: int, attempt: int = 0) -> int:
    """A seed of 31 bits for suggestion `number` of a search, asked for the `attempt`-th time."""
    digest = hashlib.sha256(f"suggestion {base_seed} {number} {attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class LedgerOptunaSearch(OptunaSearch):
    """OptunaSearch that forgets nothing on a restart and hears only of whole epochs."""

    def __init__(
        self,
        *,
        ranges: Mapping[str, Sequence[float]],
        sampler: str,
        base_seed: int,
        finished: Sequence[tuple[Mapping[str, float], float]],
        unfinished: Sequence[Mapping[str, float]],
        known: Sequence[tuple[Mapping[str, float], float]] = (),
    ) -> None:
        """
        Args:
            ranges: (low, high) of each axis.
            sampler: one of `search.options.SAMPLERS`.
            base_seed: the search's seed.
            finished: values and objective of the trials in the ledger.
            unfinished: values of trials that were started and must go on first.
            known: values and objective of other experiments' trials (`--warm-start`); they may be
                suggested again, since this ledger lacks them.
        """
        self._sampler_name, self._base_seed = sampler, base_seed
        self._suggested: set[Values] = set()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(
            make_space(ranges),
            metric=OBJECTIVE,
            mode="min",
            sampler=make_sampler(sampler, suggestion_seed(base_seed, 0)),
        )
        assert self._ot_study is not None
        self.study: optuna.Study = self._ot_study
        for values, objective in known:
            self.add_evaluated_point(_prefixed(values), objective)
        for values, objective in finished:
            self.add_evaluated_point(_prefixed(values), objective)
            self._suggested.add(_values(values))
        for values in unfinished:
            self.study.enqueue_trial(_prefixed(values))

    def suggest(self, trial_id: str) -> Any:
        """Values that were not suggested before: over a few whole numbers a sampler repeats itself.

        A repeat is told as failed, which samplers pass over, so that it leaves no trace in what
        comes after.
        """
        number = len(self._suggested)
        for attempt in range(MOST_REPEATS):
            seed = suggestion_seed(self._base_seed, number, attempt)
            stubborn = attempt >= MOST_REPEATS_OF_SAMPLER
            self.study.sampler = (
                optuna.samplers.RandomSampler(seed)
                if stubborn
                else make_sampler(self._sampler_name, seed)
            )
            suggestion = super().suggest(trial_id)
            assert suggestion is not None
            values = _values(suggestion["values"])
            if values not in self._suggested:
                self._suggested.add(values)
                return suggestion
            self.study.tell(self._ot_trials.pop(trial_id), state=TrialState.FAIL)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if result["kind"] == "epoch":
            self._ot_trials[trial_id].report(result[OBJECTIVE], result["epoch"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        told = result is not None and result.get("status") in (COMPLETE, DIVERGED)
        super().on_trial_complete(trial_id, result if told else None, error or not told)


def _values(values: Mapping[str, float]) -> Values:
    return tuple(sorted(values.items()))


def _prefixed(values: Mapping[str, float]) -> dict[str, float]:
    return {_PREFIX + name: value for name, value in values.items()}
