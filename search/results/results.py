"""What a ledger says, computed once: the one object that answers and reports are made from."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.ladder.prediction import Prediction, fan, predict
from minigpt_search.search.ladder.prediction import Step as LadderStep
from minigpt_search.search.ladder.rounds import ladder_state, points_of
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import (
    BaselineRecord,
    PredictionRecord,
    RerunRecord,
    TrialRecord,
)
from minigpt_search.search.results.barriers import Barrier, barriers
from minigpt_search.search.results.baselines import baseline_of
from minigpt_search.search.results.configurations import (
    Configuration,
    configurations_of,
    losses_by_replicate,
)
from minigpt_search.search.results.confirm import ConfirmationState, confirmation_state, is_fresh
from minigpt_search.search.results.documents import (
    OverDocuments,
    documents_of,
    level_over_documents,
)
from minigpt_search.search.results.edges import Edge, edges
from minigpt_search.search.results.statistics import CONFIDENCE
from minigpt_search.search.results.winner import Choice, Winner, choose, find_winner
from minigpt_search.search.space.ladder_spec import run_tokens

if TYPE_CHECKING:
    import pandas as pd

    from minigpt_search.search.results.posterior import Shrunk


class Results:
    """An experiment with what its ledger holds at this moment.

    A snapshot: what is computed stays, also when the ledger grows. A page or an answer makes one;
    while a search runs, whoever asks makes a new one.
    """

    def __init__(self, experiment: Experiment, ledger: Ledger) -> None:
        self.experiment = experiment
        self.trials: list[TrialRecord] = ledger.trials
        """The newest record of each trial."""
        self.reruns: tuple[RerunRecord, ...] = tuple(ledger.reruns)
        self.baselines: tuple[BaselineRecord, ...] = tuple(ledger.baselines)
        self.predictions: tuple[PredictionRecord, ...] = tuple(ledger.predictions)
        self.ended_ids = ledger.ended()
        """Of the trials that are not to be trained again: all but the failed ones."""

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """The trials that finished, in the order they did."""
        return [trial for trial in self.trials if trial.status == COMPLETE]

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Every configuration, in the order that they first ended."""
        return configurations_of(self.experiment, self.trials)

    @cached_property
    def contenders(self) -> list[Configuration]:
        """Those of which one wins: of a ladder whose target was trained that length's alone, since
        a run of another one is no better for a lower loss; else all."""
        base = self.experiment.space.base
        target = base.train.tokens_per_epoch, base.model.embed_dim
        mine = [
            each
            for each in self.configurations
            if (each.config.train.tokens_per_epoch, each.config.model.embed_dim) == target
        ]
        is_trained = self.experiment.ladder is not None and any(each.complete for each in mine)
        return mine if is_trained else self.configurations

    @cached_property
    def confirmation(self) -> ConfirmationState | None:
        """How far `--confirm` has come, failed trials counted as tried."""
        return confirmation_state(self.experiment, self.configurations)

    @cached_property
    def _choice(self) -> Choice | None:
        return choose(self.contenders, self.confirmation)

    @property
    def winning_trial(self) -> TrialRecord | None:
        """The trial that stands for the winner; None if there is none."""
        return None if self._choice is None else self._choice.trial

    @property
    def why_winning_trial(self) -> str:
        """Which of the winner's seeds that is, in words; nothing where there is one."""
        return "" if self._choice is None else self._choice.why

    @cached_property
    def winner(self) -> Winner | None:
        """The winner and how sure; None if no trial is complete within `--max-cost`."""
        return find_winner(self.contenders, self._choice, self.confirmation)

    @cached_property
    def shrunk(self) -> dict[RunConfig, Shrunk]:
        """Of the winner and its rivals what their replicates say together; empty without rivals or
        where no two replicates tell how seeds spread."""
        from minigpt_search.search.results.posterior import shrunk

        best = self.winner
        if best is None or not best.rivals:
            return {}
        compared = [best.configuration, *best.rivals]
        groups = [losses_by_replicate(best.trials(each)) for each in compared]
        noise = self.experiment.noise
        found = shrunk(groups, noise.delta_nats, paired=noise.paired)
        return {} if found is None else dict(zip((c.config for c in compared), found, strict=True))

    @cached_property
    def as_good(self) -> tuple[Configuration, ...]:
        """The rivals that are as good as the winner for what matters: it and each of them is within
        δ of the best with 95%."""
        best = self.winner
        if best is None or not self.shrunk:
            return ()
        found = (best.configuration, *best.rivals)
        sure = [each for each in found if self.shrunk[each.config].near >= CONFIDENCE]
        return tuple(sure[1:]) if sure[:1] == [best.configuration] else ()

    @cached_property
    def baseline(self) -> BaselineRecord | None:
        """What counting scores on the winner's text; None where that is not known."""
        return (
            baseline_of(self.baselines, self.winner.configuration.config) if self.winner else None
        )

    @cached_property
    def ladder_prediction(self) -> Prediction | None:
        """What a ladder's rungs say of its target so far; None for another search, and before two
        rungs have results."""
        tokens = self.experiment.space.base.train.tokens_per_epoch
        return None if tokens is None else self.ladder_prediction_of(tokens)

    def ladder_prediction_of(self, tokens_per_epoch: int) -> Prediction | None:
        """The same of a run of so many tokens an epoch."""
        experiment = self.experiment
        if experiment.ladder is None:
            return None
        base, model = experiment.space.base, experiment.space.base.model
        return predict(
            points_of(experiment, self.trials),
            (float(run_tokens(base, tokens_per_epoch)), float(model.embed_dim)),
            delta=experiment.noise.delta_nats,
            uniform=math.log(model.vocab_size),
        )

    @cached_property
    def ladder_fan(self) -> tuple[LadderStep, ...]:
        """What a ladder says of runs between its largest rung and its target; there must be a
        prediction."""
        assert self.ladder_prediction is not None
        return fan(
            points_of(self.experiment, self.trials),
            self.ladder_prediction,
            delta=self.experiment.noise.delta_nats,
            uniform=math.log(self.experiment.space.base.model.vocab_size),
        )

    @cached_property
    def on_other_text(self) -> OverDocuments | None:
        """The winner's loss for other text of this kind; None where that is not known."""
        if self.winner is None:
            return None
        return level_over_documents(documents_of(self.winner.trials(self.winner.configuration)))

    @cached_property
    def barriers(self) -> list[Barrier]:
        """The values around the winner's from which on nothing trained; none without a winner."""
        best = self.winner
        if best is None:
            return []
        return barriers(self.experiment, best.configuration, self.configurations)

    @cached_property
    def limits(self) -> list[Barrier]:
        """The barriers, and what `--warm-start` tells of others: no value is advised at or beyond
        one of them."""
        best = self.winner
        if best is None:
            return []
        return barriers(self.experiment, best.configuration, self.configurations, warm=True)

    @cached_property
    def edges(self) -> list[Edge]:
        """The axes at whose end the winner lies, where a better value may lie beyond: not where
        trials that diverged are known to."""
        if self.winner is None:
            return []
        known = {(barrier.axis.name, barrier.upper) for barrier in self.barriers}
        found = edges(self.experiment, self.winner.configuration.config)
        return [edge for edge in found if (edge.axis.name, edge.upper) not in known]

    @property
    def why_no_winner(self) -> str:
        """Why there is none."""
        n = len(self.complete)
        if n == 0:
            return "no trial is complete"
        which = "the only complete trial costs" if n == 1 else f"all {n} complete trials cost"
        return f"{which} more than --max-cost {self.experiment.plan.max_cost}"

    @cached_property
    def missing_trials(self) -> int:
        """Trials of the search that have not ended, or else of the present round of confirming."""
        if self.experiment.ladder is not None:
            state = ladder_state(self.experiment, self.trials, self.ended_ids, self.predictions)
            return len(state.due) + state.later
        missing = self.experiment.planned_trials - self.searched_trials
        if missing > 0:
            return missing
        confirming = confirmation_state(self.experiment, self.configurations, self.ended_ids)
        return len(confirming.due) if confirming else 0

    @property
    def searched_trials(self) -> int:
        """Trials of the search itself that ended."""
        ended = (trial for trial in self.trials if trial.trial_id in self.ended_ids)
        return sum(not is_fresh(self.experiment, trial) for trial in ended)

    @property
    def trials_so_far(self) -> int:
        """Trials that ended and those known to be missing: how many a confirmation takes is decided
        as it goes."""
        return len(self.ended_ids) + self.missing_trials

    @cached_property
    def trials_frame(self) -> pd.DataFrame:
        """One row a trial (`search/results/frames.py`)."""
        from minigpt_search.search.results.frames import trials_frame  # pandas: rerun.py needs none

        return trials_frame(self.experiment, self.trials, self.winning_trial)

    @cached_property
    def epochs_frame(self) -> pd.DataFrame:
        """One row an epoch of each complete trial (`search/results/frames.py`)."""
        from minigpt_search.search.results.frames import epochs_frame

        return epochs_frame(self.experiment, self.complete)

    @cached_property
    def curves_frame(self) -> pd.DataFrame:
        """The points of each complete trial's curve (`search/results/frames.py`)."""
        from minigpt_search.search.results.frames import curves_frame

        return curves_frame(self.experiment, self.complete)
