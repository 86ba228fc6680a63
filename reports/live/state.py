"""What the live page shows of a search, as plain values for JSON, made from its files alone.

So it is the same for a search in another process, one that ended, and one that was killed. The
ledger is read again only when it changed, and seldom enough that a long one costs little; the
files of running trials are read each time.
"""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import is_locked
from minigpt_search.data.common.formatting import counted, day_and_time, duration
from minigpt_search.data.common.invocation import command_line
from minigpt_search.model.records import COMPLETE
from minigpt_search.reports.live.curves import (
    BEST,
    COLOURS,
    GREY,
    Colours,
    chosen,
    ended_series,
    running_series,
)
from minigpt_search.reports.live.tables import ended_rows, running_row
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.endings import progress
from minigpt_search.search.records.experiment import LOCK_FILE, Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.live import LiveTrial, read_search, read_trials
from minigpt_search.search.results.baselines import NAMES, size_of
from minigpt_search.search.results.results import Results

RUNNING_ROWS = 12
ENOUGH_FOR_AN_ANSWER = 2
"""Complete trials: one alone says nothing that its row doesn't."""
READING_SHARE = 0.05
"""Of the time that the reading of a growing ledger may take."""

RUNNING, STARTING, COMPLETED, CUT_SHORT, BROKEN = (
    *("running", "starting", "complete", "cut short", "broken"),
)


class LiveState:
    """The state of the experiment in `folder`, made anew at each call of `now`."""

    def __init__(self, folder: Path, out: str | None = None, skip_damaged: bool = False) -> None:
        """`out` is `--out` as it was given, for the commands shown."""
        self.folder, self.out, self.skip_damaged = folder, out, skip_damaged
        self.colours = Colours()
        self._lock = threading.Lock()
        self._stamp: Any = None
        self._read_again_at = 0.0
        self._known: _Known | None = None
        self._live: dict[str, LiveTrial] = {}
        """The trials that were shown as training at the last call."""
        self._ran = False
        """Whether the search ran then."""

    def now(self) -> dict[str, Any]:
        """All that the page shows. Where the experiment can't be read it says so."""
        with self._lock:  # of several readers one asks at a time
            # First: what ended before the lock was free is in the ledger that is read after it.
            runs = is_locked(self.folder / LOCK_FILE)
            try:
                known = self._ledger(at_once=not runs)
            except (UserError, OSError) as error:
                return _head(self.folder.name, BROKEN, str(error)) | {"over": False}
            return self._state(known, runs)

    def _ledger(self, at_once: bool) -> _Known:
        """What the ledger says, read again if it changed, unless the last reading took so long
        that another is too soon; `at_once`: in any case."""
        files = (self.folder / "experiment.json", self.folder / "ledger.jsonl")
        stamp = [_stamp(path) for path in files]
        soon = time.monotonic() < self._read_again_at and not at_once
        if self._known is not None and (stamp == self._stamp or soon):
            return self._known
        began = time.thread_time()  # of a processor: others' work doesn't make it seldomer
        experiment = read_experiment(self.folder)
        ledger = Ledger(self.folder / "ledger.jsonl", self.skip_damaged)
        self._known, self._stamp = _Known(experiment, ledger, self.out), stamp
        used = time.thread_time() - began
        self._read_again_at = time.monotonic() + used / READING_SHARE
        return self._known

    def _training(self, known: _Known, runs: bool) -> list[LiveTrial]:
        """The trials that train. One whose file went has ended: it stays as it was until the
        ledger is read, so that it doesn't vanish in between."""
        found = {trial.trial_id: trial for trial in read_trials(self.folder)}
        recorded = {trial.trial_id for trial in known.results.trials}
        kept = {name: each for name, each in self._live.items() if name not in recorded}
        self._live = {n: t for n, t in found.items() if n not in known.results.ended_ids}
        if runs and self._ran:
            self._live = kept | self._live
        self._ran = runs
        return list(self._live.values())

    def _state(self, known: _Known, runs: bool) -> dict[str, Any]:
        live = self._training(known, runs)
        search = read_search(self.folder)
        state, words, command = _what_it_does(known, runs, live, search is not None, self.folder)
        live = live if state in (RUNNING, CUT_SHORT) else []
        share, ends_at = (known.share, None) if search is None else (search.share, search.ends_at)
        finished = state == COMPLETED
        recorded = {trial.trial_id for trial in known.results.trials}
        begun = sum(trial.trial_id not in recorded for trial in live)
        as_what = "training" if state == RUNNING else "were training"
        return {
            **_head(known.experiment.name, state, words),
            "command": command,
            "over": finished,
            "begun": day_and_time(known.experiment.created_at),
            "counted": progress(known.results, begun, as_what),
            "share": 1.0 if finished else round(share, 4),
            "ends_at": ends_at if state == RUNNING else None,
            "speed": search.speed if search is not None and state == RUNNING else None,
            "predicted": known.predicted,
            "running": [running_row(trial) for trial in live[:RUNNING_ROWS]],
            "more_running": max(0, len(live) - RUNNING_ROWS),
            "rows": known.rows,
            "more_rows": known.more_rows,
            "series": self._series(known, live, state),
            "more_series": known.not_drawn,
            "counting": known.counting,
            "answer": known.answer,
        }

    def _series(self, known: _Known, live: list[LiveTrial], state: str) -> list[dict[str, Any]]:
        """Grey ones first: what is drawn later lies above. `state` is the search's, and so that of
        the trials that have not ended."""
        running = []
        for trial in live:
            try:
                running.append(running_series(known.experiment, trial) | {"state": state})
            except (UserError, ValueError, KeyError, TypeError):
                continue  # of another program's file
        room = COLOURS - len(known.named)
        colours = self.colours.give([s["id"] for s in [*known.named, *running[:room]]])
        grey = [series | {"train": []} for series in running[room:][:GREY]]
        drawn = [*known.grey, *grey, *known.named, *running[:room]]
        return [series | {"colour": colours.get(series["id"])} for series in drawn]


class _Known:
    """What one reading of experiment and ledger comes to, made once."""

    def __init__(self, experiment: Experiment, ledger: Ledger, out: str | None) -> None:
        self.experiment = experiment
        self.results = results = Results(experiment, ledger)
        best = results.winning_trial
        others = experiment.machine.max_concurrent if results.missing_trials else 0
        most = max(BEST, COLOURS - others)  # those that train have colours too
        named, grey = chosen(results.trials, results.configurations, most)
        self.named = [_drawn(experiment, trial, best, grey=False) for trial in named]
        self.grey = [_drawn(experiment, trial, best, grey=True) for trial in grey]
        self.not_drawn = len(results.complete) - sum(
            series["state"] == COMPLETE for series in [*self.named, *self.grey]
        )
        planned = results.trials_so_far
        self.share = len(results.ended_ids) / planned if planned else 0.0
        seconds = experiment.plan.predicted_seconds
        self.predicted = None if seconds is None else duration(seconds)
        self.rows, self.more_rows = ended_rows(results)
        self.counting = _counting(results)
        self.answer: list[list[str]] = []
        if len(results.complete) >= ENOUGH_FOR_AN_ANSWER:
            self.answer = [line.split(None, 1) for line in answer(results, out).lines()]


def _head(name: str, state: str, words: str) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"name": name, "state": state, "words": words, "now": now}


def _what_it_does(
    known: _Known, runs: bool, live: list[LiveTrial], heard: bool, folder: Path
) -> tuple[str, str, str | None]:
    """The state, a sentence on it, and the command that it leads to."""
    results, root = known.results, folder.parents[1]
    name = known.experiment.name
    missing = results.missing_trials
    if not runs and missing == 0:
        report = command_line("reports/generate.py", name, root=root)
        return COMPLETED, "The search has ended. Its report:", report
    if not runs:
        again = command_line("search/run.py", "--resume", name, root=root)
        last = max((trial.reported_at for trial in live), default=None)
        heard_at = f" (last heard of {day_and_time(last)})" if last else ""
        what = "is not running" if results.trials or live else "began no trial and is not running"
        return CUT_SHORT, f"The search {what}{heard_at}. Go on with:", again
    if missing == 0:
        return RUNNING, "All trials have ended; the answer is being made.", None
    if live:
        return RUNNING, f"{counted(len(live), 'trial')} training now.", None
    return (RUNNING if heard or results.trials else STARTING), "The next trials are starting.", None


def _drawn(
    experiment: Experiment, trial: TrialRecord, best: TrialRecord | None, *, grey: bool
) -> dict[str, Any]:
    return ended_series(experiment, trial, grey=grey, best=trial is best)


def _counting(results: Results) -> list[dict[str, Any]]:
    """What counting scores, for the figure; nothing where trials see texts of several sizes, whose
    lines would be taken for each other's."""
    sizes = {size_of(record) for record in results.baselines}
    if len(sizes) != 1:
        return []
    losses = results.baselines[-1].losses
    return [
        {"name": words, "loss": round(losses[name], 4)}
        for name, words in NAMES.items()
        if name in losses
    ]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
