"""Trials as Trackio runs: project minigpt-search, group the experiment, in Trackio's own folder.

The library's own variables hold: TRACKIO_DIR, TRACKIO_SPACE_ID, TRACKIO_SERVER_URL. Source:
Trackio's reference of `trackio.init`.
"""

from __future__ import annotations

import contextvars
import warnings
from pathlib import Path
from typing import Any

from minigpt_search.search.loggers.runs import PROJECT, Destination, LoggedTrial, Runs


def where_to_look(folder: Path) -> str:
    """The command that shows the runs."""
    return f"trackio show --project {PROJECT}; group {folder.name}"


def make_runs(destination: Destination) -> Runs:
    """The runs of an experiment."""
    import trackio

    return TrackioRuns(destination, trackio)


class TrackioRuns:
    """One run a trial, several at a time."""

    def __init__(self, destination: Destination, library: Any) -> None:
        self.destination, self.trackio = destination, library
        self.open: dict[str, Any] = {}
        self.lost: list[str] = []
        """Warnings of the library's that something could not be kept."""
        self._show = warnings.showwarning
        warnings.showwarning = self._heed
        self.last_step: dict[str, int] = {}

    def begin(self, trial: LoggedTrial) -> None:
        # `init` ends the run of its context, so each has a context of its own. A run is known by
        # its name in the whole project.
        name = f"{self.destination.experiment} {trial.name} {trial.trial_id[:6]}"
        self.open[trial.trial_id] = contextvars.copy_context().run(
            self.trackio.init,
            project=PROJECT,
            name=name,
            group=self.destination.experiment,
            config={**trial.config, **trial.tags},
            resume="allow",
            embed=False,
            auto_log_gpu=False,  # of this process, which trains nothing
            auto_log_cpu=False,
        )

    def log(self, trial_id: str, step: int, values: dict[str, float]) -> None:
        self.last_step[trial_id] = step
        self.open[trial_id].log(values, step=step)

    def end(self, trial_id: str, status: str, values: dict[str, Any]) -> None:
        run = self.open.pop(trial_id)
        # Without a prefix they would stand before the curves, which are train/ and val/.
        of_trial = {f"trial/{key}": value for key, value in {"status": status, **values}.items()}
        run.log(of_trial, step=self.last_step.pop(trial_id, 0))
        run.finish()
        if self.lost:  # else the trial would count as sent
            raise OSError(self.lost[0])

    def _heed(self, message: Warning | str, *place: Any, **more: Any) -> None:
        """Threads of the library's write to its file, and only warn where they can't."""
        if "could not" in str(message).lower():
            self.lost.append(str(message))
        self._show(message, *place, **more)

    def close(self) -> None:
        for run in self.open.values():
            run.finish()
