"""Optuna's samplers inside Ray Tune, with the ledger as their memory.

The study lives in memory and is rebuilt from the ledger at each start. The random stream of a
suggestion is seeded from the search's seed and the suggestion's number, so that at concurrency 1
a resumed search suggests what an uninterrupted one would have.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from minigpt_search.model.records import COMPLETE, DIVERGED, STOPPED
from minigpt_search.search.samplers.budget_gate import BudgetGate
from minigpt_search.search.samplers.optuna_samplers import distribution, make_sampler
from minigpt_search.search.space.axes import Value
from minigpt_search.search.space.space import Space
from minigpt_search.search.trials.reports import OBJECTIVE

MOST_REPEATS_OF_SAMPLER, MOST_REPEATS = 20, 2000
"""After so many suggestions that may not be made values are drawn evenly; after so many there are
no new ones."""
MOST_REPEATS_OF_GP = 2
"""The same for the Gaussian process: each costs a fit, and it would repeat itself."""
MOST_TOO_LONG = 10
"""After so many suggestions that don't fit into what is left of the budget it is over: to look on
for one that does would fill the end with the cheapest."""
STATES = {
    COMPLETE: TrialState.COMPLETE,
    DIVERGED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
}
"""What a sampler is told of a trial; every other status is a failure, which it passes over."""
_VIOLATED = 1.0
Values = tuple[tuple[str, Value], ...]


def suggestion_seed(base_seed: int, number: int, attempt: int = 0) -> int:
    """A seed of 31 bits for suggestion `number` of a search, asked for the `attempt`-th time."""
    digest = hashlib.sha256(f"suggestion {base_seed} {number} {attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """An ended trial as a sampler is told of it."""

    values: Mapping[str, Value]
    """The axes' values."""
    status: str
    """A status of `model.records` other than failed."""
    objective: float
    """Validation loss in nats; that of a uniform prediction where the trial diverged."""
    cost: float | None = None
    """The second objective, where there is one."""
    overrun: float | None = None
    """By how much it is above the limit of measured cost, where there is such a limit; 0 or less is
    within it."""
    curve: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Validation loss in nats by epoch."""

    @property
    def objectives(self) -> list[float]:
        """What is minimised."""
        return [self.objective] if self.cost is None else [self.objective, self.cost]

    @property
    def constraints(self) -> dict[str, float]:
        """Above 0 is a violation. A cheap trial that diverged must not count as one of a Pareto
        front, so with two objectives it is one."""
        found = {} if self.overrun is None else {"max_cost": self.overrun}
        if self.cost is not None:
            found["diverged"] = _VIOLATED if self.status == DIVERGED else 0.0
        return found


class LedgerOptunaSearch(Searcher):
    """Optuna for Tune that forgets nothing on a restart and hears only of whole epochs.

    Tune's own `OptunaSearch` keeps its study to itself, and knows neither constraints nor the
    order in which this one must be told.
    """

    def __init__(
        self,
        *,
        space: Space,
        sampler: str,
        base_seed: int,
        finished: Sequence[Observation],
        unfinished: Sequence[Mapping[str, Value]],
        known: Sequence[Observation] = (),
        allowed: Callable[[Mapping[str, Value]], bool] = lambda values: True,
        tell: Callable[[Mapping[str, Value], Mapping[str, Any]], Observation] | None = None,
        objectives: int = 1,
        gate: BudgetGate | None = None,
    ) -> None:
        """
        Args:
            space: what may be suggested.
            sampler: one of `search.records.plan.SAMPLERS`.
            base_seed: the search's seed.
            finished: the trials in the ledger, in its order.
            unfinished: values of trials that were started and must go on first.
            known: of other experiments' trials (`--warm-start`); they may be suggested again, since
                this ledger lacks them.
            allowed: whether values may be suggested; others are drawn again.
            tell: makes an observation of a trial from its values and its last report to Tune.
            objectives: how many there are, 1 or 2.
            gate: refuses what would end after the search's budget is spent.
        """
        self._sampler_name, self._base_seed = sampler, base_seed
        self._allowed, self._tell = allowed, tell or _observation
        self._suggested: set[Values] = set()
        self._gate = gate
        self._distributions = {name: distribution(space, name) for name in space.axes}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Tune is told of the first objective only: it demands each metric in every report.
        super().__init__(metric=OBJECTIVE, mode="min")
        self.study = optuna.create_study(
            directions=["minimize"] * objectives, sampler=self._make_sampler(0, 0)
        )
        self._running: dict[str, optuna.trial.Trial] = {}
        """Optuna's trials by Tune's ids."""
        for observation in (*known, *finished):
            self.study.add_trial(self._frozen(observation))
        self._suggested.update(_values(observation.values) for observation in finished)
        for values in unfinished:
            self.study.enqueue_trial(dict(values))

    def _frozen(self, observation: Observation) -> optuna.trial.FrozenTrial:
        state = STATES[observation.status]
        return optuna.trial.create_trial(
            state=state,
            values=observation.objectives if state == TrialState.COMPLETE else None,
            params=dict(observation.values),
            distributions=self._distributions,
            intermediate_values=dict(observation.curve),
            constraints=observation.constraints,
        )

    def _make_sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        seed = suggestion_seed(self._base_seed, number, attempt)
        most = MOST_REPEATS_OF_GP if self._sampler_name == "gp" else MOST_REPEATS_OF_SAMPLER
        name = self._sampler_name if attempt < most else "random"
        search_seed = suggestion_seed(self._base_seed, -1)
        return make_sampler(name, seed, search_seed, number + attempt, self._distributions)

    def suggest(self, trial_id: str) -> Any:
        """Values that were not suggested before and are allowed: over a few whole numbers a sampler
        repeats itself.

        A repeat is told as failed, which samplers pass over, so that it leaves no trace in what
        comes after.
        """
        number, too_long = len(self._suggested), 0
        for attempt in range(MOST_REPEATS):
            self.study.sampler = self._make_sampler(number, attempt)
            trial = self.study.ask(self._distributions)
            params = trial.params
            values = _values(params)
            if values not in self._suggested and self._allowed(params):
                if self._gate is None or self._gate.fits(params):
                    self._suggested.add(values)
                    self._running[trial_id] = trial
                    if self._gate is not None:
                        self._gate.begin(trial_id, params)
                    return {"values": params}  # as the trainable takes them
                too_long += 1
            self.study.tell(trial, state=TrialState.FAIL)
            if too_long == MOST_TOO_LONG:
                break
        return Searcher.FINISHED

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's own state is never read again, and a study of many trials is large."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        one = len(self.study.directions) == 1  # Optuna takes no curves of two objectives
        first = result.get("replicate", 0) == 0  # the others come to the same steps again
        if result["kind"] in ("epoch", "rung") and one and first:
            self._running[trial_id].report(result[OBJECTIVE], result["curve_step"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        trial = self._running[trial_id]
        state = STATES.get((result or {}).get("status", ""), TrialState.FAIL)
        if error or result is None or state == TrialState.FAIL:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        observation = self._tell(trial.params, result)
        for name, value in observation.constraints.items():
            trial.set_constraint(name, value)
        values = observation.objectives if state == TrialState.COMPLETE else None
        self.study.tell(trial, values, state=state)


def _observation(values: Mapping[str, Value], result: Mapping[str, Any]) -> Observation:
    return Observation(values=values, status=result["status"], objective=result[OBJECTIVE])


def _values(values: Mapping[str, Value]) -> Values:
    return tuple(sorted(values.items()))
