"""From a search's reports and records to what a logger is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minigpt_search.data.common import extras
from minigpt_search.data.common.errors import UserError
from minigpt_search.model.records import DIVERGED
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.cli.resume_flags import changes_of, keep_changes
from minigpt_search.search.loggers.trial_logs import TrialLogs, installed_loggers
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.trials.trial import trials_of

LR = {"pack": [{"values": {"lr": 1e-3}, "replicate": 0}]}


class Heard:
    """In the place of a logger's process."""

    logger = "mlflow"

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def start(self) -> None: ...

    def hang_up(self) -> None: ...

    def close(self, until: float) -> None: ...

    def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)


@pytest.fixture
def experiment() -> Experiment:
    made = make_experiment(make_parser().parse_args(["--grid", "lr", "--name", "x"]), "cpu")
    return made.replace(corpus=made.corpus.__class__(manifest={"name": "small"}))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make_logs(
    experiment: Experiment, tmp_path: Path, heard: Heard
) -> Callable[[Ledger], TrialLogs]:
    def make(ledger: Ledger) -> TrialLogs:
        logs = TrialLogs(experiment.replace(loggers=("mlflow",)), tmp_path, ledger)
        logs.processes = [heard]  # type: ignore[list-item]
        return logs

    return make


def record_of(experiment: Experiment, make: Callable[..., TrialRecord], **fields: Any) -> Any:
    [trial] = trials_of(experiment, LR)
    return make(trial.trial_id, config=trial.config, **fields)


def test_a_trial_is_a_run_with_curves_by_step_and_its_results(
    experiment: Experiment,
    make_logs: Callable[[Ledger], TrialLogs],
    make_trial_record: Callable[..., TrialRecord],
    heard: Heard,
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    [trial] = trials_of(experiment, LR)
    report = {"member": trial.trial_id, "replicate": 0, "time_total_s": 3.0, "pid": 1}
    losses = {"train_loss_nats": 7.5, "val_loss_nats": 7.25, "lr": 0.5}
    with make_logs(ledger) as logs:
        first = {"kind": "progress", "step": 5, "total_steps": 40, "train_loss_nats": 8.0}
        logs.report(LR, {**report, **first})
        logs.report(LR, {**report, "kind": "rung", "step": 10, "val_loss_nats": 7.5})
        logs.report(LR, {**report, "kind": "epoch", "epoch": 1, **losses})
        logs.report(LR, {**report, "kind": "end", "status": "complete"})
        ledger.append(record_of(experiment, make_trial_record))
        logs.note_ended(LR)
        logs.note_ended(LR)
    there, begun, *logged, ended = heard.messages
    assert there["experiment"] == "x" and there["folder"] == str(tmp_path)
    assert begun["trial"]["name"] == "lr=0.001"
    assert begun["trial"]["config"]["lr_peak"] == 1e-3
    assert begun["trial"]["config"]["embed_dim"] == 128
    assert begun["trial"]["tags"]["experiment"] == "x"
    assert [(each["step"], each["values"]) for each in logged] == [
        (10, {"val/loss_nats": 7.5}),
        (40, {"val/loss_nats": 7.25, "train/loss_nats_of_epoch": 7.5, "train/lr": 0.5}),
        (1, {"val/loss_nats": 7.0, "train/loss_nats_of_epoch": 7.1, "train/lr": 1e-4}),
    ]  # the second epoch was not reported: the record has it. Progress is no point of a curve
    assert ended["status"] == "complete" and ended["values"]["val_loss_nats"] == 7.0


def test_the_points_of_a_curve_are_sent_as_they_come(
    experiment: Experiment,
    make_logs: Callable[[Ledger], TrialLogs],
    heard: Heard,
    tmp_path: Path,
) -> None:
    [trial] = trials_of(experiment, LR)
    curve = SimpleNamespace(
        steps=(2, 4),
        train_loss_nats=(9.0, 8.0),
        grad_norm=(1.0, 2.0),
        lr=(0.5, 0.25),
        val_steps=(4,),
        val_loss_nats=(8.5,),
    )
    report = {"member": trial.trial_id, "kind": "rung", "step": 4, "val_loss_nats": 8.5}
    with make_logs(Ledger(tmp_path / "ledger.jsonl")) as logs:
        logs.report(LR, {**report, "curve": curve})
    points = [(each["step"], each["values"]) for each in heard.messages[2:]]
    assert points[0] == (2, {"train/loss_nats": 9.0, "train/grad_norm": 1.0, "train/lr": 0.5})
    # The rung's own loss is the curve's: it is sent once.
    assert [step for step, _ in points] == [2, 4, 4]
    assert points[2] == (4, {"val/loss_nats": 8.5})


def test_what_ended_before_is_sent_unless_it_has_been(
    experiment: Experiment,
    make_logs: Callable[[Ledger], TrialLogs],
    make_trial_record: Callable[..., TrialRecord],
    heard: Heard,
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    record = record_of(experiment, make_trial_record, status=DIVERGED)
    ledger.append(record)
    with make_logs(ledger):
        pass
    ended = heard.messages[-1]
    assert ended["status"] == DIVERGED and ended["values"]["error"] == "because"
    assert "val_loss_nats" not in ended["values"]  # no number of a trial that came to none
    (tmp_path / "loggers").mkdir()
    (tmp_path / "loggers" / "mlflow.txt").write_text(f"{record.trial_id} {record.ended_at}\n")
    heard.messages.clear()
    with make_logs(ledger):
        pass
    assert len(heard.messages) == 1


def test_a_logger_that_is_none_or_not_installed_is_refused_beforehand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "trackio", "no_such_module")
    with pytest.raises(UserError, match="--log tensorbord: give one or several of wandb, mlflow"):
        check_options(make_parser().parse_args(["--grid", "lr", "--log", "tensorbord"]))
    with pytest.raises(UserError, match=r"--log trackio: needs .*minigpt-search\[trackio\]"):
        check_options(make_parser().parse_args(["--grid", "lr", "--log", "trackio"]))


def test_a_resumed_search_has_its_loggers_or_says_which_not(
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "mlflow", "json")
    args = make_parser().parse_args(["--resume", "x", "--log", "mlflow"])
    check_options(args)
    changes = changes_of(args, experiment, LocalMachines())
    assert changes == {"loggers": ("mlflow",)}
    experiment.write(tmp_path / "x")
    keep_changes(changes, tmp_path / "x", Ledger(tmp_path / "x" / "ledger.jsonl"))
    assert "Changed    logged by mlflow (none before)" in capsys.readouterr().out
    kept = read_experiment(tmp_path / "x")
    assert kept.storage.loggers == ("mlflow",) and kept.command[-2:] == ("--log", "mlflow")
    monkeypatch.setitem(extras.EXTRAS, "mlflow", "no_such_module")
    assert installed_loggers(kept).storage.loggers == ()
    assert "goes on without mlflow" in capsys.readouterr().out
