"""What is left of Ray in a search: what it prints, the workers' reports; also where a release of
Ray lacks what is replaced in it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from ray._private import worker as ray_worker
from ray._private.node import Node as RayNode

from minigpt_search.data.ray.connection import silence_prints
from minigpt_search.model.records import EpochRecord, TrialCurve
from minigpt_search.model.training.train import Progress
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.early_stopping.rungs import StoppingDecision
from minigpt_search.search.machines.local_ray import few_processes
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.sync.worker_files import WorkerFiles
from minigpt_search.search.trials.trial import ReportedTrials, grid_trials
from minigpt_search.search.worker import reporting as tune_reports


def test_where_ray_lacks_what_is_replaced_the_rest_is_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_log_monitor = RayNode.start_log_monitor
    monkeypatch.delattr(RayNode, "start_monitor")
    with few_processes():
        assert not hasattr(RayNode, "start_monitor")
        assert RayNode.start_log_monitor is not start_log_monitor
    assert RayNode.start_log_monitor is start_log_monitor
    monkeypatch.setitem(sys.modules, "ray._private.node", None)
    with few_processes():
        assert RayNode.start_log_monitor is start_log_monitor
    monkeypatch.delattr(ray_worker, "print_to_stdstream")
    silence_prints()
    assert not hasattr(ray_worker, "print_to_stdstream")


def test_ray_prints_nothing_of_its_own_accord(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_worker, "print_to_stdstream", ray_worker.print_to_stdstream)
    silence_prints()
    lost = {"lines": ["a worker died"], "pid": "raylet", "is_err": False}
    ray_worker.print_to_stdstream(lost, ignore_prefix=False)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment(make_parser().parse_args(["--grid", "lr"]), "cpu")


def test_progress_is_reported_each_two_seconds_and_every_epoch(
    monkeypatch: pytest.MonkeyPatch, experiment: Experiment
) -> None:
    now, reports = 0.0, []
    monkeypatch.setattr(tune_reports.tune, "report", reports.append)
    monkeypatch.setattr(tune_reports.time, "monotonic", lambda: now)
    trial = grid_trials(experiment)[0]
    hooks = tune_reports.tune_hooks(
        trial,
        WorkerFiles(Path()),
        StoppingDecision("never", Path(), trial.trial_id, trial.config),
        at_a_time=2,
    )
    for second in range(7):  # `train` tells of its progress once a second
        now = second + 0.01 * second
        steps = tuple(range(1, second + 1))
        columns = dict.fromkeys(("train_loss_nats", "grad_norm", "grad_norm_max", "lr"), steps)
        hooks.on_curve(TrialCurve(steps=steps, **columns))  # type: ignore[arg-type]
        hooks.on_progress(Progress(step=second, total_steps=7, train_loss_nats=9.0))
    fields = dict.fromkeys(EpochRecord.__dataclass_fields__, 1.0)
    hooks.on_epoch(EpochRecord(**fields | {"epoch": 1, "val_loss_nats": 8.0}))  # type: ignore[arg-type]
    assert [r["step"] for r in reports if r["kind"] == "progress"] == [0, 2, 4, 6]
    assert [r["val_loss_nats"] for r in reports if r["kind"] == "epoch"] == [8.0]
    # Each point goes once.
    assert [r["curve"].steps for r in reports] == [(), (1, 2), (3, 4), (5, 6), ()]
    assert (reports[-1]["step"], reports[-1]["total_steps"]) == (7, 7)
    guessing = math.log(trial.config.model.vocab_size)
    assert [r["objective"] for r in reports] == [guessing] * 4 + [8.0]


def test_many_trials_report_less_often_each() -> None:
    """All together at most ten times a second, as far as the screen needs no more."""
    assert tune_reports.report_every(1) == tune_reports.report_every(16) == 1.9
    assert tune_reports.report_every(64) == 6.4
    assert tune_reports.report_every(1000) == 100


def test_a_report_leads_back_to_its_member_of_the_pack(experiment: Experiment) -> None:
    trials = grid_trials(experiment)
    pack = {"pack": [{"values": t.values, "replicate": t.replicate} for t in trials]}
    reported = ReportedTrials(experiment)
    for trial in [*trials, *trials]:
        assert reported(pack, {"member": trial.trial_id}) == trial
