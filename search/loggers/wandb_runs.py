"""Trials as runs of Weights & Biases: project minigpt-search, group the experiment.

The library's own variables hold: WANDB_MODE=offline writes files alone, WANDB_PROJECT, WANDB_ENTITY
and WANDB_DIR name other places. Sources: the library's reference of `wandb.init`, `reinit`
"create_new" for several runs in one process.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from minigpt_search.search.loggers.runs import PROJECT, Destination, LoggedTrial, Runs

INIT_SECONDS = 60
"""The most that a run's beginning waits for the server."""


def where_to_look(folder: Path) -> str:
    """Where the runs are."""
    if os.environ.get("WANDB_MODE") == "offline":
        runs = f"{os.environ.get('WANDB_DIR', folder)}/wandb/offline-run-*"
        return f"files; to send them: wandb sync {runs}"
    return f"project {os.environ.get('WANDB_PROJECT', PROJECT)}, group {folder.name}"


def make_runs(destination: Destination) -> Runs:
    """The runs of an experiment."""
    import wandb

    return WandbRuns(destination, wandb)


class WandbRuns:
    """One run a trial, several at a time."""

    def __init__(self, destination: Destination, library: Any) -> None:
        self.destination, self.wandb = destination, library
        self.open: dict[str, Any] = {}

    def begin(self, trial: LoggedTrial) -> None:
        there = self.destination
        text = f"{there.experiment} {there.created_at} {trial.trial_id}"
        run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=there.experiment,
            id=hashlib.sha256(text.encode()).hexdigest()[:16],
            name=trial.name,
            config=trial.config,
            tags=[f"{key}:{value}"[:64] for key, value in trial.tags.items()],
            dir=os.environ.get("WANDB_DIR", str(there.folder)),
            resume="allow",
            reinit="create_new",
            settings=self.wandb.Settings(
                console="off",
                silent=True,
                init_timeout=INIT_SECONDS,
                x_disable_stats=True,  # of this process, which trains nothing
            ),
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")  # wandb's own counts calls
        self.open[trial.trial_id] = run

    def log(self, trial_id: str, step: int, values: dict[str, float]) -> None:
        self.open[trial_id].log({"step": step, **values})

    def end(self, trial_id: str, status: str, values: dict[str, Any]) -> None:
        run = self.open.pop(trial_id)
        run.summary.update({"status": status, **values})
        run.tags = (*run.tags, f"status:{status}")
        run.finish(exit_code=0 if status in ("complete", "stopped") else 1)

    def close(self) -> None:
        for run in self.open.values():
            run.finish(exit_code=255)  # as wandb marks what was interrupted
