"""Work on all cores, with the results in the order of the input whatever the number of cores."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from types import TracebackType
from typing import TypeVar

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.machine import usable_cores

Batch = TypeVar("Batch")
Result = TypeVar("Result")
WAITING_PER_WORKER = 3
"""The batches for each worker handed out ahead of the one whose result is due: enough to keep the
workers busy, few enough to bound memory."""


class Workers:
    """Processes that start when there is work for more than one of them, or when they are told to.
    Use as a context manager.

    They are spawned, not forked: a fork of a process with threads (torch, tqdm) can deadlock.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or usable_cores()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def start(self, function: Callable[[], object]) -> None:
        """Start the processes before there is work for them, with a call of `function` for each."""
        if self.count > 1:
            for _ in range(self.count):
                self._submit(function)

    def map(
        self, function: Callable[[Batch], Result], batches: Iterable[Batch]
    ) -> Iterator[Result]:
        """Yield `function` of each batch, in order, as it is asked for. Maps may be chained: one's
        results can be the other's batches.

        Raises:
            UserError: a process was killed from outside, as a system short of memory does.
        """
        batches = iter(batches)
        first = list(islice(batches, 2))
        if self.count == 1 or len(first) < 2:
            yield from map(function, chain(first, batches))
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for batch in chain(first, batches):
                waiting.append(self._submit(function, batch))
                if len(waiting) > WAITING_PER_WORKER * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, most likely for lack of memory: close other "
                "programs or pass `--workers 1`"
            ) from None

    def _submit(self, function: Callable[..., Result], *batch: object) -> Future[Result]:
        # The first calls start a process each. It inherits what is blocked, so that Ctrl-C doesn't
        # reach it while it imports, before `_begin_worker`; here it is only delayed.
        multiprocessing.resource_tracker.ensure_running()  # its start would unblock it again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._started().submit(function, *batch)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
            )
        return self._executor


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed with no time to say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
