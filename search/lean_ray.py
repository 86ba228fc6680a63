"""Ray with fewer processes and fewer wake-ups, for a search on this one machine.

What a search never uses costs it all the same: Ray's autoscaler, dashboard and log monitor are
three Python processes, a second of its start, a second of its end and 0.8% of a core in between;
Tune looks ten times a second whether anything has happened (2-core AMD EPYC, 2026-11-24). Ray has
no options for these, so methods of its own are replaced; pyproject.toml holds Ray to the release
that this was written for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from ray._private.node import Node
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.schedulers import FIFOScheduler

TUNE_WAITS_SECONDS = 1.0
"""Events wake Tune at once; without any it looks around this often, and not each 0.1 s."""


@contextmanager
def few_processes() -> Iterator[None]:
    """While this lasts, `ray.init` starts GCS and raylet alone, and what the raylet starts."""

    def start_no_dashboard(node: Node, **_: Any) -> None:
        node._webui_url = ""

    with ExitStack() as stack:
        for name, instead in [
            ("start_monitor", lambda node: None),  # it would ask a cloud for machines
            ("start_log_monitor", lambda node: None),  # nobody reads: `log_to_driver` is off
            ("start_api_server", start_no_dashboard),
        ]:
            stack.enter_context(mock.patch.object(Node, name, instead))
        yield


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
    on 6 slots of two cores started 38 workers (tests/benchmarks/scaling.py, 2026-11-26). Named
    none, Tune gives the free worker to the next trial, at the end to one that waits for its own.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nor does it look through all trials at each step."""
        return None
