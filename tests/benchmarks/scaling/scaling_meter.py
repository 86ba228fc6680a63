"""Clocks in the search's driver, for `scaling.py`: what each part took, by ended trials."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
RAYS_OWN = ("gcs_server", "raylet")


class Meter:
    """Notes of one search."""

    def __init__(self) -> None:
        self.ended = 0
        """Trials so far."""
        self.workers = 0
        """Processes that Tune asked for."""
        self.calls: dict[str, list[tuple[int, float, float]]] = {}
        """By part: trials ended before the call, its seconds, its seconds of processor time."""
        self.moments: list[dict[str, float]] = []
        """At each trial's end: since 1970, processor time and memory of the driver and Ray's own
        processes."""

    def listen(self) -> None:
        """Put clocks into what a search calls. Ray must be importable by now."""
        from ray.air.execution._internal.actor_manager import RayActorManager
        from ray.tune.execution.tune_controller import TuneController

        from minigpt_search.search.driver.progress import ProgressLine
        from minigpt_search.search.driver.recorder import Recorder
        from minigpt_search.search.driver.tensorboard import TensorBoardEvents
        from minigpt_search.search.records.ledger import Ledger
        from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch

        for part, cls, name in [
            ("suggest", LedgerOptunaSearch, "suggest"),
            ("tell", LedgerOptunaSearch, "on_trial_complete"),
            ("record", Recorder, "on_trial_complete"),
            ("append", Ledger, "append"),
            ("progress: report", ProgressLine, "on_trial_result"),
            ("progress: end", ProgressLine, "on_trial_complete"),
            ("curves: report", TensorBoardEvents, "on_trial_result"),
            ("curves: end", TensorBoardEvents, "on_trial_complete"),
            ("loop", TuneController, "step"),
        ]:
            setattr(cls, name, self._clocked(part, getattr(cls, name)))
        add_actor = RayActorManager.add_actor

        @functools.wraps(add_actor)
        def count(*args: Any, **info: Any) -> Any:
            self.workers += 1
            return add_actor(*args, **info)

        RayActorManager.add_actor = count  # type: ignore[method-assign]
        on_complete = Recorder.on_trial_complete

        @functools.wraps(on_complete)
        def note_and_count(*args: Any, **info: Any) -> None:
            on_complete(*args, **info)
            self.ended += 1
            self.moments.append(moment())

        Recorder.on_trial_complete = note_and_count  # type: ignore[method-assign]

    def _clocked(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        notes = self.calls.setdefault(part, [])

        @functools.wraps(function)
        def call(*args: Any, **info: Any) -> Any:
            began, used = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **info)
            finally:
                spent = time.perf_counter() - began, time.thread_time() - used
                notes.append((self.ended, *spent))

        return call


def moment() -> dict[str, float]:
    """Now: seconds since 1970, processor seconds and resident megabytes of this process, and
    processor seconds of the Ray processes that it started."""
    return {
        "time": time.time(),
        "driver": time.process_time(),
        "memory_mb": resident_mb(os.getpid()),
        "ray": sum(map(processor_seconds, children(os.getpid(), RAYS_OWN))),
    }


def children(parent: int, names: tuple[str, ...]) -> list[int]:
    """Process ids of the children of `parent` with these names."""
    found = []
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() in names:
                found.append(int(pid))
        except OSError:  # it ended meanwhile
            continue
    return found


def processor_seconds(pid: int) -> float:
    """User's and system's so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / TICKS


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
