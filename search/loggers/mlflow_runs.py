"""Trials as MLflow runs, in an MLflow experiment of the search's name.

MLFLOW_TRACKING_URI holds where it is set; else the runs are in a file beside the experiments,
ROOT/mlflow.db, which all searches there share. Source: MLflow's reference of `MlflowClient`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from minigpt_search.search.loggers.runs import Destination, LoggedTrial, Runs

_STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


def tracking_uri(folder: Path) -> str:
    """Where the runs of the experiment in `folder` go."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parents[1] / 'mlflow.db'}"


def where_to_look(folder: Path) -> str:
    """The command that shows the runs."""
    uri = tracking_uri(folder)
    return f"mlflow ui --backend-store-uri {uri}" if uri.startswith("sqlite:") else uri


def make_runs(destination: Destination) -> Runs:
    """The runs of an experiment."""
    from mlflow.tracking import MlflowClient

    return MlflowRuns(destination, MlflowClient(tracking_uri(destination.folder)))


class MlflowRuns:
    """One run a trial, by a client that has no run of its own."""

    def __init__(self, destination: Destination, client: Any) -> None:
        self.destination, self.client = destination, client
        self.open: dict[str, str] = {}
        """Ids of runs, by trial."""
        known = client.get_experiment_by_name(destination.experiment)
        artifacts = (destination.folder.parents[1] / "mlflow-artifacts").as_uri()
        self.experiment_id = (
            known.experiment_id
            if known is not None
            else client.create_experiment(destination.experiment, artifact_location=artifacts)
        )

    def begin(self, trial: LoggedTrial) -> None:
        from mlflow.entities import Param

        # An experiment of another folder may have the same name.
        tags = {**trial.tags, "trial": trial.trial_id, "created": self.destination.created_at}
        same = " and ".join(f"tags.{key} = '{tags[key]}'" for key in ("trial", "created"))
        found = self.client.search_runs([self.experiment_id], same, max_results=1)
        run = found[0] if found else self.client.create_run(self.experiment_id, run_name=trial.name)
        run_id = run.info.run_id
        for key, value in {**tags, "status": "running"}.items():
            self.client.set_tag(run_id, key, value)
        params = [Param(key, str(value)) for key, value in trial.config.items()]
        self.client.log_batch(run_id, params=params)
        self.client.update_run(run_id, status="RUNNING")
        self.open[trial.trial_id] = run_id

    def log(self, trial_id: str, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items()]
        self.client.log_batch(self.open[trial_id], metrics=metrics)

    def end(self, trial_id: str, status: str, values: dict[str, Any]) -> None:
        run_id = self.open.pop(trial_id)
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        for key, value in numbers.items():
            self.client.log_metric(run_id, key, value)
        for key, value in values.items():
            if key not in numbers:
                self.client.set_tag(run_id, key, str(value))
        self.client.set_tag(run_id, "status", status)
        self.client.set_terminated(run_id, status=_STATUS[status])

    def close(self) -> None:
        for run_id in self.open.values():
            self.client.set_tag(run_id, "status", "interrupted")
            self.client.set_terminated(run_id, status="KILLED")
