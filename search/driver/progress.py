"""The search on one line of the screen: trials done, share of the work, time left, losses now."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ray import tune
from tqdm import tqdm

from minigpt_search.data.common.formatting import duration
from minigpt_search.model.records import COMPLETE, STOPPED
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.length import steps_flops
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import ReportedTrials, Trial, trials_of

_SHOWN = 4
"""Running trials named on the line; more don't fit."""
_BAR = "{{desc}} {{percentage:3.0f}}%|{{bar:{width}}}| {{elapsed}}{{postfix}}"
_WIDEST, _NARROWEST = 20, 5
"""Columns of the bar."""
_ENOUGH = 0.01
"""Share of the work that must be done before the time left is worth saying."""


class ProgressLine(tune.Callback):
    """Redraws a bar at each report, and prints one line for each trial that ends.

    Work is counted in floating-point operations, so that wide and long trials weigh what they
    cost and the time left is right for grids over width.
    """

    def __init__(
        self,
        experiment: Experiment,
        ledger: Ledger,
        work: Mapping[str, float],
        planned: int,
        shared: Mapping[str, int],
        clock: Clock,
    ) -> None:
        """
        Args:
            work: floating-point operations of each known trial, by its id. A sampler's trials are
                added as they come.
            planned: trials of the whole search.
            shared: steps that a trial takes over from its trunk, by its id, where it does; they
                are not in its work.
            clock: the search's; it is the measure of a sampler's with a budget.
        """
        self.clock = clock
        in_time = experiment.plan.sampler is not None and experiment.plan.budget_seconds is not None
        self.budget = experiment.plan.budget_seconds if in_time else None
        self.best = ledger.best()
        self.experiment, self.ledger, self.planned = experiment, ledger, planned
        self.shared = shared
        self.reported = ReportedTrials(experiment)
        self.done = WorkDone(work, planned, ledger.ended())
        self.announced: set[str] = set()
        """Ids of the trials whose end was printed."""
        self.running: dict[str, str] = {}
        self.steps_seen: dict[str, tuple[int, float]] = {}
        self.rates: dict[str, float] = {}
        self.begun: tuple[float, float] | None = None
        """When the first step was heard of, and the share done then: what the time left is
        reckoned from, so that the start-up doesn't count."""
        self.bar = tqdm(
            total=1.0,
            initial=self._share_done(),
            bar_format=_BAR.format(width=_WIDEST),
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 10,
        )
        self._redraw()

    def _share_done(self) -> float:
        if self.budget is not None:
            return min(1.0, self.clock.used() / self.budget)
        return self.done.share()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["kind"] == MEMBER_END:
            self._tell_end(self.reported(trial.config, result))
            self._redraw()
        if result["kind"] != "progress":
            return
        known = self.reported(trial.config, result)
        name, step = known.trial_id, result["step"]
        now = time.monotonic()
        last_step, last_time = self.steps_seen.get(name, (step, now))
        if self.shared:  # of a trunk and its branches one goes on at a time
            for other in trials_of(self.experiment, trial.config):
                self.rates.pop(other.trial_id, None)
        if now > last_time:
            self.rates[name] = (step - last_step) / (now - last_time)
        self.steps_seen.setdefault(name, (step, now))
        if not self.done.knows(name):
            self.done.add(name, steps_flops(known.config, result["total_steps"]))
        shared = self.shared.get(name, 0)
        self.done.note(name, max(0, step - shared) / (result["total_steps"] - shared))
        self.running[name] = f"{known.label} {result['train_loss_nats']:.2f}"
        self._redraw()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        labels = "; ".join(t.label for t in trials_of(self.experiment, trial.config))
        tqdm.write(f"  {labels}: its process was lost, it is started again", file=sys.stderr)

    def _end(self, tune_trial: Any) -> None:
        for trial in trials_of(self.experiment, tune_trial.config):
            if trial.trial_id not in self.announced:
                self._tell_end(trial)
            self.reported.forget(trial)
        self._redraw()

    def _tell_end(self, trial: Trial) -> None:
        self.announced.add(trial.trial_id)
        self.running.pop(trial.trial_id, None)
        self.rates.pop(trial.trial_id, None)
        self.done.note(trial.trial_id, 1.0)
        record = self.ledger.newest(trial.trial_id)
        if record is None:
            return
        if record.status == COMPLETE:
            end = record.final
            if self.best is None or end.val_loss_nats < self.best.final.val_loss_nats:
                self.best = record
            text = (
                f"validation loss {end.val_loss_nats:.4f} nats, perplexity "
                f"{end.val_perplexity:,.1f}, {record.timing.total():,.0f} s"
            )
        elif record.status == STOPPED:
            text = str(record.error)
        else:
            text = f"{record.status}: {record.error}"
        tqdm.write(f"  {trial.label}: {text}", file=sys.stderr)

    def _redraw(self) -> None:
        ended = self.ledger.ended_count
        planned = f"/{self.planned}" if self.budget is None else ""
        self.bar.set_description_str(f"{ended}{planned} trials", refresh=False)
        rate = f"{sum(self.rates.values()):.1f} steps/s" if self.rates else "starting"
        rate = "done" if ended == self.planned else rate
        losses = list(self.running.values())[:_SHOWN]
        share = self._share_done()
        best = [f"best {self.best.final.val_loss_nats:.4f}"] if self.best else []
        words = [*self._time_left(share), *best, rate, *losses]
        self.bar.set_postfix_str(self._fit(words), refresh=False)
        self.bar.update(max(0.0, share - self.bar.n))

    def _fit(self, words: list[str]) -> str:
        """The first ones of `words`, as many as the screen has room for, and the bar's width. What
        tqdm cuts off itself it cuts inside of a number."""
        screen = self.bar.format_dict
        if screen["ncols"] is None:
            return "; ".join(words)
        beside = f"{self.bar.desc} 100%|| {tqdm.format_interval(screen['elapsed'])}, "
        room = screen["ncols"] - len(beside)
        while words and len("; ".join(words)) > room - _NARROWEST:
            words = words[:-1]
        text = "; ".join(words)
        width = min(_WIDEST, max(_NARROWEST, room - len(text)))
        self.bar.bar_format = _BAR.format(width=width)
        return text

    def _time_left(self, share: float) -> list[str]:
        if self.budget is not None:
            return _until(self.budget - self.clock.used(), "at most ")
        if not self.steps_seen:
            return []
        now = time.monotonic()
        if self.begun is None:
            self.begun = now, share
        began, share_then = self.begun
        if share - share_then < _ENOUGH:
            return []
        return _until((now - began) * (1 - share) / (share - share_then))

    def close(self) -> None:
        """Leave the line as it is and go to the next."""
        self.bar.close()


def _until(seconds: float, most: str = "") -> list[str]:
    """The time left and the clock's at its end; the day too, unless it is today."""
    seconds = max(0.0, seconds)
    now = datetime.datetime.now()
    end = now + datetime.timedelta(seconds=seconds)
    at = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%a %H:%M}"
    return [f"{most}{duration(seconds)} left, ends {at}"]


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
