"""Tune with fewer started workers, less memory and no loggers of its own."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler


def count_no_callbacks() -> None:
    """Keep Tune from importing the libraries of all the loggers that it knows, only to count
    callbacks for its usage statistics, which are off: MLflow's client takes 4 s, and one that is
    broken would end the search."""
    with suppress(ImportError):  # a release that counts elsewhere
        usage: Any = importlib.import_module("ray.air._internal.usage")
        if hasattr(usage, "tag_callbacks"):
            usage.tag_callbacks = lambda callbacks: False


class FifoWithoutPreemption(FIFOScheduler):
    """Trials start in their order, and no worker that is being started for one is ended.

    Tune's own FIFO names the oldest trial that waits at each step; Tune gives it the worker that
    another trial has just left, and ends the one that was to come for it, the nearest to being
    ready. Where trials last no longer than workers take to start, few ever do: 40 trials of 0.5 s
    on 6 slots of two cores started 36 to 39 workers, and now 6 (`tests/benchmarks/scaling/
    scaling.py`, 2026-11-29). Named none, Tune gives the free worker to the next trial, at the end
    to one that waits for its own.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nor does it look through all trials at each step."""
        return None


class DropTrialMetrics(tune.Callback):
    """Drops an ended trial's statistics of each metric that it reported.

    Tune keeps them for its own analysis, for as long as the search runs: without this the driver
    grows by 58 kB a trial, with it by 25 (400 trials of 0.3 s, `tests/benchmarks/scaling/
    scaling.py`, 2026-11-29; ray#64231 is about the driver's growth). A release that has them
    elsewhere keeps them.
    """

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        for name in ("metric_analysis", "metric_n_steps"):
            getattr(trial, name, {}).clear()

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)
