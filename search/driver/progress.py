"""The search on one line of the screen: trials done, share of the work, time left, losses now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray import tune

from minigpt_search.data.common.formatting import counted, duration, perplexity
from minigpt_search.model.records import COMPLETE, STOPPED
from minigpt_search.search.driver.screen import SOONEST_SECONDS, Screen
from minigpt_search.search.driver.status_line import Status, time_left
from minigpt_search.search.driver.work_done import WorkDone
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.live import SearchFile
from minigpt_search.search.results.configurations import configurations_of, mean_loss
from minigpt_search.search.results.confirm import confirmation_state, is_fresh
from minigpt_search.search.results.labels import short_label, trial_label
from minigpt_search.search.trials.length import steps_flops
from minigpt_search.search.trials.reports import MEMBER_END
from minigpt_search.search.trials.trial import ReportedTrials, Trial, trials_of

EPOCH_LINES = 20
"""Epochs of a trial at most that a log has a line of."""
_ENOUGH = 0.01
"""Share of the work that must be done before the time left is worth saying."""


class ProgressLine(tune.Callback):
    """Keeps the screen at what is reported, and tells of each trial that ends.

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
        began: float | None = None,
        live: SearchFile | None = None,
    ) -> None:
        """
        Args:
            work: floating-point operations of each known trial, by its id. A sampler's trials are
                added as they come.
            planned: trials of the whole search.
            shared: steps that a trial takes over from its trunk, by its id, where it does; they
                are not in its work.
            clock: the search's; it is the measure of a sampler's with a budget.
            began: when the search's first line was shown, in seconds of `time.monotonic`: a later
                round goes on from there. By default it is now.
            live: gets the share and the time left too, for readers elsewhere.
        """
        self.clock, self.live = clock, live
        in_time = experiment.plan.sampler is not None and experiment.plan.budget_seconds is not None
        self.budget = experiment.plan.budget_seconds if in_time else None
        self.best: TrialRecord | None = None
        """Of the search itself: fresh seeds of `--confirm` count by their configuration's mean."""
        for record in ledger.complete():
            self._note_best(experiment, record)
        self.experiment, self.ledger, self.planned = experiment, ledger, planned
        self.shared = shared
        self.reported = ReportedTrials(experiment)
        self.done = WorkDone(work, planned, ledger.ended())
        self.announced: set[str] = set()
        """Ids of the trials whose end was printed."""
        self.labels: dict[str, str] = {}
        self.running: dict[str, str] = {}
        """Training losses by trial id, as `labels` are."""
        self.steps_seen: dict[str, tuple[int, float]] = {}
        self.rates: dict[str, float] = {}
        self.begun: tuple[float, float] | None = None
        """When the first step was heard of, and the share done then: what the time left is
        reckoned from, so that the start-up doesn't count."""
        self.ends: tuple[float, float] | None = None
        """The share done when it last grew, and the moment of the end as reckoned then: between two
        reports the time left falls by the clock."""
        self.confirmed = self._confirmed()
        self.screen = Screen(self._status, began)

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        """Tune pickles its callbacks into a file that nobody reads."""
        return tune.Callback, ()

    def _share_done(self) -> float:
        if self.budget is not None:
            return min(1.0, self.clock.used() / self.budget)
        return self.done.share()

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["kind"] == MEMBER_END:
            self._tell_end(self.reported(trial.config, result))
            self.screen.draw()
        if result["kind"] == "epoch" and not self.screen.is_terminal:
            self._tell_epoch(self.reported(trial.config, result), result)
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
        if self.begun is None:  # here, since a log is not drawn for a minute
            self.begun = now, self._share_done()
        if name not in self.labels:
            self.labels[name] = self._label(known)
        self.running[name] = f"{result['train_loss_nats']:.2f}"
        self._note_live()
        self.screen.draw(SOONEST_SECONDS)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        labels = "; ".join(self._label(t) for t in trials_of(self.experiment, trial.config))
        self.screen.say(f"{labels}: its process has ended, another goes on with it")

    def _end(self, tune_trial: Any) -> None:
        for trial in trials_of(self.experiment, tune_trial.config):
            if trial.trial_id not in self.announced:
                self._tell_end(trial)
            self.reported.forget(trial)
        self._note_live()
        self.screen.draw()

    def _note_live(self) -> None:
        if self.live is not None and self.live.is_due():
            share = self._share_done()
            self.live.write(share, self._seconds_left(share), self._speed())

    def _label(self, trial: Trial) -> str:
        return trial_label(self.experiment, trial.config, trial.replicate)

    def _tell_epoch(self, trial: Trial, result: dict[str, Any]) -> None:
        """A line of a log, for at most EPOCH_LINES of a trial's epochs. The last one's numbers are
        in the line of the trial's end."""
        epoch, epochs = result["epoch"], trial.config.train.epochs
        if epoch < epochs and epoch % -(-epochs // EPOCH_LINES) == 0:
            self.screen.say(
                f"{self._label(trial)}: epoch {epoch} of {epochs}, validation loss "
                f"{result['val_loss_nats']:.4f} nats, training loss {result['train_loss_nats']:.4f}"
            )

    def _note_best(self, experiment: Experiment, record: TrialRecord) -> None:
        if is_fresh(experiment, record):
            return
        if self.best is None or record.final.val_loss_nats < self.best.final.val_loss_nats:
            self.best = record

    def _tell_end(self, trial: Trial) -> None:
        self.announced.add(trial.trial_id)
        self.running.pop(trial.trial_id, None)
        self.labels.pop(trial.trial_id, None)
        self.rates.pop(trial.trial_id, None)
        self.done.note(trial.trial_id, 1.0)
        record = self.ledger.newest(trial.trial_id)
        if record is None:
            return
        if record.status == COMPLETE:
            end = record.final
            self._note_best(self.experiment, record)
            text = (
                f"validation loss {end.val_loss_nats:.4f} nats, perplexity "
                f"{perplexity(end.val_perplexity)}, {duration(record.timing.total())}"
            )
        elif record.status == STOPPED:
            text = str(record.error)
        else:
            text = f"{record.status}: {record.error}"
        self.screen.say(f"{self._label(trial)}: {text}")
        if is_fresh(self.experiment, record):
            self.confirmed = self._confirmed()

    def _confirmed(self) -> tuple[str, str] | None:
        """The number of `--confirm`'s leader and whose it is: the mean of its fresh seeds, as in
        the answer. None before there is one."""
        if self.experiment.noise.confirm is None:
            return None
        found = configurations_of(self.experiment, self.ledger.trials)
        state = confirmation_state(self.experiment, found)
        if state is None or state.leader is None:
            return None
        seeds = counted(len(state.leader.fresh), "fresh seed")
        name = short_label(self.experiment, state.leader.config)
        return f"confirmed {mean_loss(state.leader.fresh):.4f}", f"{name}, {seeds}"

    def _best(self) -> tuple[str, str] | tuple[None, None]:
        """The best number so far and whose it is."""
        if self.confirmed is not None:
            return self.confirmed
        if self.best is None:
            return None, None
        label = trial_label(self.experiment, self.best.config, self.best.replicate)
        return f"best {self.best.final.val_loss_nats:.4f}", label

    def _status(self) -> Status:
        of_all = self.ledger.ended_count if self.budget is not None else self.planned
        planned = f"/{self.planned}" if self.budget is None else ""
        share = self._share_done()
        seconds, most = self._seconds_left(share), "" if self.budget is None else "at most "
        left, ends = (None, None) if seconds is None else time_left(seconds, most)
        best, best_of = self._best()
        running = [(self.labels.get(name, ""), loss) for name, loss in list(self.running.items())]
        return Status(
            counted=f"{self.ledger.ended_count}{planned} trial{'s' * (of_all != 1)}",
            share=share,
            left=left,
            ends=ends,
            best=best,
            best_of=best_of,
            speed=self._speed(),
            running=tuple(running),
        )

    def _speed(self) -> str:
        if self.ledger.ended_count == self.planned:
            return "done"
        rates = list(self.rates.values())  # at once: a thread draws too
        return f"{sum(rates):.1f} steps/s" if rates else "starting"

    def _seconds_left(self, share: float) -> float | None:
        """Of the search; of a sampler's with a budget at most. None while it can't be told, and
        when all trials have ended."""
        if self.ledger.ended_count == self.planned:
            return None
        if self.budget is not None:
            return self.budget - self.clock.used()
        if self.begun is None:
            return None
        now = time.monotonic()
        began, share_then = self.begun
        if share - share_then < _ENOUGH:
            return None
        if self.ends is None or self.ends[0] != share:
            self.ends = share, now + (now - began) * (1 - share) / (share - share_then)
        return self.ends[1] - now

    def close(self) -> None:
        """Leave the line as it is and go to the next."""
        self.screen.close()
