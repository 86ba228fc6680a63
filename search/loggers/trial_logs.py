"""What loggers are told of a search: each trial is a run, with its configuration, its curves by
optimizer step, and its results when the ledger has them.

A trial that ended in an earlier part of the search, or was taken over from another experiment, is
sent at the beginning, unless it has been sent; so `--resume NAME --log mlflow` sends a search that
was done without.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from minigpt_search.data.common.extras import is_installed
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, EpochRecord
from minigpt_search.search.loggers.logger_process import END_SECONDS, FOLDER, LoggerProcess
from minigpt_search.search.loggers.runs import where_to_look
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.trials.trial import ReportedTrials, trials_of

_ENDS = tuple(f.name for f in fields(EpochRecord) if f.name not in ("epoch", "tokens_seen"))


def installed_loggers(experiment: Experiment) -> Experiment:
    """`experiment` with those of its loggers that are installed here; the others are said: another
    machine, on which it goes on, may have none."""
    missing = [name for name in experiment.storage.loggers if not is_installed(name)]
    for name in missing:
        print(f'Logging    goes on without {name}: pip install "minigpt-search[{name}]"')
    left = tuple(name for name in experiment.storage.loggers if name not in missing)
    return experiment.replace(loggers=left)


class TrialLogs:
    """The loggers of a search, none or several. Nothing here stops it."""

    def __init__(self, experiment: Experiment, folder: Path, ledger: Ledger) -> None:
        self.experiment, self.folder, self.ledger = experiment, folder, ledger
        self.reported = ReportedTrials(experiment)
        self.processes = [LoggerProcess(name, folder) for name in experiment.storage.loggers]
        self._sent = {p.logger: _ended_before(folder, p.logger) for p in self.processes}
        self._begun: set[str] = set()
        self._epochs: dict[str, int] = {}
        """Epochs of each running trial whose loss was sent."""
        self._total_steps: dict[str, int] = {}

    def __enter__(self) -> TrialLogs:
        there = {"experiment": self.experiment.name, "created_at": self.experiment.created_at}
        for process in self.processes:
            process.start()
            process.send({**there, "folder": str(self.folder.absolute())})
            look = where_to_look(process.logger, self.folder.absolute())
            print(f"Logging    {process.logger}: {look}", flush=True)
        self._send_what_is_missing()
        return self

    def __exit__(self, *ended: object) -> None:
        """Wait for what was sent, END_SECONDS at most; where no Tune ran, what the ledger took
        over is sent here."""
        self._send_what_is_missing()
        until = time.monotonic() + END_SECONDS
        for process in self.processes:
            process.hang_up()
        for process in self.processes:
            process.close(until)

    def report(self, tune_config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Send the points of a worker's report: of a step, a rung or an epoch."""
        if not self.processes or result["kind"] not in ("progress", "rung", "epoch"):
            return
        trial = self.reported(tune_config, result)
        name = trial.trial_id
        self._begin(name, trial.config, trial.replicate, self.processes)
        step = result.get("step")
        self._log_curve(name, result.get("curve"), self.processes)
        if result["kind"] == "progress":
            self._total_steps[name] = result["total_steps"]
        if result["kind"] == "epoch":
            total = self._total_steps.get(name)
            if total is None:
                return  # its record has the epoch
            step = total * result["epoch"] // trial.config.train.epochs
            self._epochs[name] = result["epoch"]
        point = _beside(_point(result["kind"], result), step, result.get("curve"))
        self._log(name, step, point, self.processes)

    def note_ended(self, tune_config: Mapping[str, Any]) -> None:
        """Send the results of these trials, which the ledger has by now."""
        if not self.processes:
            return
        for trial in trials_of(self.experiment, tune_config):
            record = self.ledger.newest(trial.trial_id)
            if record is not None:
                self._send_ended(record)
            self.reported.forget(trial)

    def _send_what_is_missing(self) -> None:
        for record in self.ledger.trials if self.processes else ():
            self._send_ended(record)

    def _send_ended(self, record: TrialRecord) -> None:
        """Send a record's results, and those of its curves that were not sent as they came, to
        the loggers that have not had it."""
        key = f"{record.trial_id} {record.ended_at}"
        to = [process for process in self.processes if key not in self._sent[process.logger]]
        if not to:
            return
        name, config = record.trial_id, record.config
        self._begin(name, config, record.replicate, to)
        tokens_a_step = config.train.batch_size * config.model.seq_len
        sent = self._epochs.pop(name, 0)
        for epoch in record.epochs[sent:]:
            step = -(-epoch.tokens_seen // tokens_a_step)
            of_epoch = {**vars(epoch), "lr": epoch.lr_last}
            point = _point("epoch", of_epoch)
            heard = name in self._total_steps
            self._log(name, step, point if heard else _beside(point, step, record.curve), to)
        if name not in self._total_steps:  # none of its reports was heard
            self._log_curve(name, record.curve, to)
        self._begun.discard(name)
        self._total_steps.pop(name, None)
        ended = {
            "do": "end",
            "trial_id": name,
            "ended_at": record.ended_at,
            "status": record.status,
            "values": _results(record),
        }
        for process in to:
            process.send(ended)
            self._sent[process.logger].add(key)

    def _begin(
        self, name: str, config: RunConfig, replicate: int, to: Sequence[LoggerProcess]
    ) -> None:
        if name in self._begun:
            return
        self._begun.add(name)
        trial = {
            "trial_id": name,
            "name": trial_label(self.experiment, config, replicate),
            "config": {**asdict(config.model), **asdict(config.train)},
            "tags": {
                "experiment": self.experiment.name,
                "preset": self.experiment.preset,
                "corpus": self.experiment.corpus.name,
                "replicate": str(replicate + 1),
            },
        }
        for process in to:
            process.send({"do": "begin", "trial": trial})

    def _log_curve(self, name: str, curve: Any, to: Sequence[LoggerProcess]) -> None:
        """Send the points of a curve by steps, where a report or a record has one."""
        for n, step in enumerate(curve.steps if curve else ()):
            fields = {
                "train/loss_nats": curve.train_loss_nats,
                "train/grad_norm": curve.grad_norm,
                "train/lr": curve.lr,
            }
            self._log(name, step, {key: values[n] for key, values in fields.items()}, to)
        for n, step in enumerate(curve.val_steps if curve else ()):
            self._log(name, step, {"val/loss_nats": curve.val_loss_nats[n]}, to)

    def _log(
        self, name: str, step: int | None, values: dict[str, float], to: Sequence[LoggerProcess]
    ) -> None:
        for process in to if step is not None and values else ():
            process.send({"do": "log", "trial_id": name, "step": step, "values": values})


def _point(kind: str, values: Mapping[str, Any]) -> dict[str, float]:
    """What a report adds to the curves. Its progress is a mean since the epoch began: beside the
    losses of single steps it would be a saw."""
    if kind == "progress":
        return {}
    point = {"val/loss_nats": values["val_loss_nats"]}
    if kind == "epoch":
        point |= {"train/loss_nats_of_epoch": values["train_loss_nats"], "train/lr": values["lr"]}
    return point


def _beside(point: dict[str, float], step: int | None, curve: Any) -> dict[str, float]:
    """What of a report's point the curve that is sent with it does not have."""
    if curve is None:
        return point
    twice = {"val/loss_nats"} if step in curve.val_steps else set()
    twice |= {"train/lr", "train/loss_nats"} if step in curve.steps else set()
    return {key: value for key, value in point.items() if key not in twice}


def _results(record: TrialRecord) -> dict[str, Any]:
    """What a run's table shows of its end. Losses are those of complete trials alone."""
    values: dict[str, Any] = {
        "steps": record.steps,
        "training_seconds": record.timing.training_seconds,
        "total_seconds": record.timing.total(),
        "attempts": record.attempts,
    }
    if record.status == COMPLETE:
        values |= {name: getattr(record.final, name) for name in _ENDS}
    if record.error is not None:
        values["error"] = record.error
    if record.taken_from is not None:
        values["taken_from"] = record.taken_from
    return values


def _ended_before(folder: Path, logger: str) -> set[str]:
    """Which trials the logger has had to their end, each as its id and the moment of its end."""
    with suppress(OSError):
        return set((folder / FOLDER / f"{logger}.txt").read_text(encoding="utf-8").splitlines())
    return set()
