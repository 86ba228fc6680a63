"""How much of a search's work is done, in floating-point operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class WorkDone:
    """Trials' work in floating-point operations, and how much of each is done.

    Of trials whose work isn't known yet, the mean of the others' is taken.
    """

    def __init__(self, work: Mapping[str, float], planned: int, ended: Iterable[str]) -> None:
        """
        Args:
            work: of each known trial, by its id.
            planned: trials of the whole search.
            ended: ids of the trials that need no more.
        """
        self.planned = planned
        self._work, self._shares = dict(work), dict.fromkeys(ended, 1.0)
        self._all = sum(self._work.values())
        self._done = sum(self._work.get(name, 0.0) for name in self._shares)
        self._done_of_unknown = float(sum(name not in self._work for name in self._shares))

    def knows(self, name: str) -> bool:
        """Whether the trial's work is known."""
        return name in self._work

    def add(self, name: str, work: float) -> None:
        """The work of a trial that was not known."""
        before = self._shares.get(name)
        self._forget(name)
        self._work[name] = work
        self._all += work
        if before is not None:
            self.note(name, before)

    def note(self, name: str, share: float) -> None:
        """This share of the trial is done by now."""
        self._forget(name)
        self._shares[name] = share
        if name in self._work:
            self._done += share * self._work[name]
        else:
            self._done_of_unknown += share

    def _forget(self, name: str) -> None:
        share = self._shares.pop(name, 0.0)
        if name in self._work:
            self._done -= share * self._work[name]
        else:
            self._done_of_unknown -= share

    def share(self) -> float:
        """The share of the whole search's work that is done, from 0 to 1."""
        mean = self._all / len(self._work) if self._work else 1.0
        total = self._all + mean * max(0, self.planned - len(self._work))
        return (self._done + mean * self._done_of_unknown) / total
