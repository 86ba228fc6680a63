"""Whether another trial of a sampler still ends inside the budget.

A trial is suggested while those before it run, so its start is the earliest predicted end of one of
them. Predictions are corrected by how long the trials of this search have really taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune

from minigpt_search.search.planning.prediction import NEXT_TRIAL_SECONDS
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.plan import END_SECONDS, START_SECONDS
from minigpt_search.search.space.axes import Value

Values = Mapping[str, Value]
MARGIN = 1.1
"""On a trial's predicted time: speeds waver by a tenth."""


@dataclass
class _Running:
    starts: float
    """On the search's clock; predicted until it is known."""
    seconds: float
    """As predicted, uncorrected."""
    first: tuple[float, float] | None = None
    """The clock and the share of its steps at its first report; a resumed one has done a part."""
    last: tuple[float, float] = (0.0, 0.0)
    """The same at its newest report."""


class BudgetGate(tune.Callback):
    """Says whether a suggestion fits, and hears how the trials come on."""

    def __init__(
        self,
        budget_seconds: float,
        workers: int,
        clock: Clock,
        predict: Callable[[Values], float],
        seeds: int = 1,
    ) -> None:
        """`predict`: seconds that the `seeds` replicates of these values have still to run."""
        self.budget, self.workers = budget_seconds, workers
        self.clock, self.predict, self.seeds = clock, predict, seeds
        self.running: dict[str, _Running] = {}
        self.really, self.predicted = 0.0, 0.0
        self.begun = clock.used()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher, which nobody reads again

    @property
    def correction(self) -> float:
        """Real over predicted seconds of this search's trials so far."""
        return self.really / self.predicted if self.predicted > 0 else 1.0

    def fits(self, values: Values) -> bool:
        """Whether a trial of these values, started as soon as there is room, ends in time."""
        seconds = MARGIN * self.correction * self.predict(values)
        return self._next_start() + seconds + END_SECONDS <= self.budget

    def begin(self, trial_id: str, values: Values) -> None:
        """Count the trial, which was just suggested, as under way."""
        self.running[trial_id] = _Running(starts=self._next_start(), seconds=self.predict(values))

    def _next_start(self) -> float:
        earliest = max(self.clock.used(), self.begun + START_SECONDS)
        if len(self.running) < self.workers:
            return earliest
        ends = sorted(map(self._end_of, self.running.values()))
        return max(earliest, ends[-self.workers] + NEXT_TRIAL_SECONDS)

    def _end_of(self, running: _Running) -> float:
        """Predicted; by its own speed, once a tenth is done."""
        now = self.clock.used()
        if running.first is not None and running.last[1] - running.first[1] > 0.1:
            (then, share_then), (time, share) = running.first, running.last
            return max(now, time + MARGIN * (time - then) * (1 - share) / (share - share_then))
        return max(now, running.starts + MARGIN * self.correction * running.seconds)

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if trial.trial_id in self.running:
            self.running[trial.trial_id].starts = self.clock.used()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        running = self.running.get(trial.trial_id)
        if running is None or result["kind"] != "progress":
            return
        before = result.get("replicate", 0)
        share = (before + result["step"] / result["total_steps"]) / self.seeds
        running.last = self.clock.used(), share
        running.first = running.first or running.last

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        running = self.running.pop(trial.trial_id, None)
        if running is None:
            return
        result = trial.last_result or {}
        if result.get("status") == "complete":
            self.really += self.clock.used() - running.starts
            self.predicted += running.seconds

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.running.pop(trial.trial_id, None)


class NoteClock(tune.Callback):
    """Notes the clock while trials run."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        self.clock.note_sometimes()
