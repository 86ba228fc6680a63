"""Tells the loggers of what Tune hears from trials."""

from __future__ import annotations

from typing import Any

from ray import tune

from minigpt_search.search.loggers.trial_logs import TrialLogs
from minigpt_search.search.trials.reports import MEMBER_END, NO_STORAGE


class LogReports(tune.Callback):
    """Runs after the recorder, so that the ledger has what ended."""

    def __init__(self, logs: TrialLogs) -> None:
        self.logs = logs

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        """Tune pickles its callbacks into a file that nobody reads."""
        return tune.Callback, ()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.logs.report(trial.config, result)
        if result["kind"] == MEMBER_END:
            self.logs.note_ended(trial.config)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if (trial.last_result or {}).get("status") != NO_STORAGE:
            self.logs.note_ended(trial.config)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.logs.note_ended(trial.config)
