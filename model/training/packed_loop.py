"""Several runs of one shape trained together, each with its own data order, schedule, evaluation,
records and checkpoints, as `model/training/loop.py` has them for a run alone.

Runs that are not at the same step (after a kill between their checkpoints, say) go on one group at
a time, those with the fewest steps first, and together from where they meet. Clocks: the pack's
time counts for each of its members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from minigpt_search.model.training.loop import Diverged, Run
from minigpt_search.model.training.packed_step import PackedStep


class PackedRun:
    """Trains `runs`, of one shape (`RunConfig.shape`), until each is done or has diverged."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self.errors: list[str | None] = [None] * len(runs)
        """Why a run diverged, in the order of the runs; None for one that did not."""
        self._group: list[Run] = []
        """The runs that are at the same step and trained by `_step`."""

    def train(self) -> None:
        """Train every run to its end; a run that diverges leaves its reason in `errors`."""
        while unfinished := self._unfinished():
            least = unfinished[0].state.steps
            group = [run for run in unfinished if run.state.steps == least]
            ahead = [run.state.steps for run in unfinished if run.state.steps > least]
            # A new group takes new stacked weights and, on a GPU, a new graph: keep one while the
            # same runs go on.
            if group != self._group:
                self._group = group
                self._step = PackedStep([run.one_step for run in group])
                for run in group:
                    run.restart_clock()
            self._train_epoch(until=min(ahead, default=math.inf))

    def _unfinished(self) -> list[Run]:
        """The runs that are neither done nor diverged, those with the fewest steps first."""
        pairs = zip(self.runs, self.errors, strict=True)
        unfinished = [run for run, error in pairs if error is None and not run.done]
        return sorted(unfinished, key=lambda run: run.state.steps)

    def _train_epoch(self, until: float) -> None:
        """Train the group for the rest of its epoch, or up to step `until`, or until one of it
        diverges."""
        group = self._group
        first = group[0]
        for batches in zip(*(run.batches_left() for run in group), strict=True):
            pairs = zip(group, batches, strict=True)
            self._step(*zip(*(run.next_batch(own) for run, own in pairs), strict=True))
            for run in group:
                run.count_step()
            reached = first.state.steps == until
            save = any(run.checkpoint_is_due() for run in group)
            score = first.is_scored_between()
            report = reached or save or score or first.progress_is_due()
            # Reported before it is saved: never keep a state that has diverged.
            if report and not self._for_each(Run.report_progress):
                return
            if score:
                self._for_each(Run.score_between, "evaluation_seconds")
            if save:
                self._for_each(Run.save_step, "checkpointing_seconds")
            if reached:
                return
        if self._for_each(Run.report_progress):
            self._for_each(Run.end_epoch, "evaluation_seconds")

    def _for_each(self, action: Callable[[Run], None], part: str | None = None) -> bool:
        """Call `action` for each run of the group; returns whether none has diverged. If `part` of
        the timing is given, the time of all calls counts as it for each run."""
        for run in self._group:
            try:
                action(run)
            except Diverged as reason:
                self.errors[self.runs.index(run)] = str(reason)
        if part is not None:
            for run in self._group:
                run.add_elapsed(part)
        return not any(self.errors[self.runs.index(run)] for run in self._group)
