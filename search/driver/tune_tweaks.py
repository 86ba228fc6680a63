"""Ray with fewer processes and fewer wake-ups, for a search on this one machine.

What a search never uses costs it all the same: Ray's autoscaler, dashboard and log monitor are
three Python processes, a second of its start, a second of its end and 0.8% of a core in between;
Tune looks ten times a second whether anything has happened (2-core AMD EPYC, 2026-11-24). Ray has
no options for these, so methods of its own are replaced; pyproject.toml holds Ray to the release
that this was written for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.schedulers import FIFOScheduler

TUNE_WAITS_SECONDS = 1.0
"""Events wake Tune at once; without any it looks around this often, and not each 0.1 s."""


@contextmanager
def few_wakeups() -> Iterator[None]:
    """While this lasts, Tune's loop sleeps until something happens."""
    wait = RayActorManager.next

    def wait_longer(manager: RayActorManager, timeout: float | None = None) -> bool:
        if timeout is not None:
            timeout = max(timeout, TUNE_WAITS_SECONDS)
        return wait(manager, timeout=timeout)

    with mock.patch.object(RayActorManager, "next", wait_longer):
        yield


class InTurn(FIFOScheduler):
    """Trials start in their order, and no worker that is being started for one is ended.

    Tune's own FIFO names the oldest trial that waits at each step; Tune gives it the worker that
    another trial has just left, and ends the one that was to come for it, the nearest to being
    ready. Where trials last no longer than workers take to start, few ever do: 40 trials of 0.5 s
    on 6 slots of two cores started 38 workers (tests/benchmarks/scaling/scaling.py, 2026-11-26).
    Named none, Tune gives the free worker to the next trial, at the end to one that waits for its
    own.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nor does it look through all trials at each step."""
        return None


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
