"""What Tune keeps of trials that have ended, and nobody here reads."""

from __future__ import annotations

from typing import Any

from ray import tune


class ForgetMetrics(tune.Callback):
    """Drops an ended trial's statistics of each metric that it reported.

    Tune keeps them for its own analysis, for as long as the search runs: 27 kB a trial, more than
    all the rest that the driver remembers of it (tracemalloc, 2026-11-24; ray#64231 is about the
    driver's growth).
    """

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)
