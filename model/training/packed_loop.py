"""Several runs of one shape trained together, each with its own data order, schedule, evaluation,
records and checkpoints, as `model/training/loop.py` has them for a run alone.

Runs that don't stand at the same step (after a kill between their checkpoints, say) go on one
group at a time, the rearmost first, and together from where they meet. Clocks: the pack's time
counts for each of its members.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from minigpt_search.model.training.loop import Diverged, Run
from minigpt_search.model.training.packed_step import PackedStep


class PackedRun:
    """Trains `runs`, of one shape (`RunConfig.shape`), until each is done or has diverged."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.errors: list[str | None] = [None] * len(runs)
        """Why a run diverged, in the order of the runs."""
        self._together: list[Run] = []

    def train(self) -> None:
        while going := self._going():
            least = going[0].position.steps
            later = [run.position.steps for run in going if run.position.steps > least]
            together = [run for run in going if run.position.steps == least]
            if together != self._together:
                self._together = together
                self._step = PackedStep([run.one_step for run in together])
                for run in together:
                    run.mark = time.perf_counter()  # what it waited was not its own time
            self._train_epoch(until=min(later, default=math.inf))

    def _going(self) -> list[Run]:
        """The runs that are neither done nor diverged, the rearmost first."""
        pairs = zip(self.runs, self.errors, strict=True)
        going = [run for run, error in pairs if error is None and not run.done]
        return sorted(going, key=lambda run: run.position.steps)

    def _train_epoch(self, until: float) -> None:
        """The rest of the epoch under way, or up to step `until`, or until one diverges."""
        together = self._together
        first = together[0]
        for batches in zip(*(run.batches_left() for run in together), strict=True):
            pairs = zip(together, batches, strict=True)
            self._step(*zip(*(run.next_batch(own) for run, own in pairs), strict=True))
            for run in together:
                run.count_step()
            reached = first.position.steps == until
            save = any(run.checkpoint_is_due() for run in together)
            if (reached or save or first.progress_is_due()) and not self._each(Run.report_progress):
                return
            if save:
                self._each(Run.save_step, "checkpointing_seconds")
            if reached:
                return
        if self._each(Run.report_progress):
            self._each(Run.end_epoch, "evaluation_seconds")

    def _each(self, action: Callable[[Run], None], part: str | None = None) -> bool:
        """Do it for each run; whether all can go on. Its time, as `part`, counts for all."""
        for run in self._together:
            try:
                action(run)
            except Diverged as reason:
                self.errors[self.runs.index(run)] = str(reason)
        if part is not None:
            for run in self._together:
                run.charge(part)
        return not any(self.errors[self.runs.index(run)] for run in self._together)
