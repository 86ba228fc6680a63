"""From a trial's folder to the ledger: nothing lost, nothing twice, failures tried again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from minigpt_search.model.records import COMPLETE, FAILED, Device, EpochRecord, Timing
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.driver.recorder import Recorder, collect_outcomes
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import (
    Start,
    note_first_step,
    note_start,
    read_outcome,
    read_started,
    trial_folder,
    write_outcome,
)
from minigpt_search.search.samplers.study_db import write_study
from minigpt_search.search.trials.reports import NO_STORAGE, RETIRES
from minigpt_search.search.trials.trial import Trial, grid_trials

Make = Callable[..., Experiment]


@pytest.fixture
def plan() -> Make:
    def make(*words: str) -> Experiment:
        args = make_parser().parse_args(words)
        check_options(args)
        return make_experiment(args, "cpu")

    return make


def record(trial: Trial, status: str = COMPLETE, loss: float = 7.0) -> TrialRecord:
    epoch = EpochRecord(
        epoch=1,
        train_loss_nats=loss,
        val_loss_nats=loss,
        val_perplexity=math.exp(loss),
        val_bits_per_byte=1.0,
        lr_last=0.0,
        grad_norm_mean=1.0,
        tokens_seen=1,
        wall_seconds=1.0,
        steps_per_second=1.0,
        peak_memory_mb=1.0,
    )
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=status,
        epochs=(epoch,) if status == COMPLETE else (),
        error=None if status == COMPLETE else "because",
        steps=1,
        timing=Timing(),
        device=Device(kind="cpu", name="a processor", threads=1),
        versions={},
        checkpoint=None,
        attempts=1,
        ended_at="2026-01-01T00:00:00+00:00",
    )


def leave_outcome(folder: Path, trial: Trial, status: str = COMPLETE) -> Path:
    home = trial_folder(folder, trial.trial_id)
    note_start(home, trial.values, trial.replicate, Start(session="a"))
    (home / "step_000000001.pt").write_bytes(b"a checkpoint")
    write_outcome(home, record(trial, status))
    return home


def tune_trial(trial: Trial) -> SimpleNamespace:
    cell = {"values": trial.values, "replicate": trial.replicate}
    last = {"status": COMPLETE}
    return SimpleNamespace(
        config={"pack": [cell]}, last_result=last, num_failures=3, error_file=None
    )


def test_an_outcome_is_copied_once_and_its_step_checkpoints_are_gone(
    tmp_path: Path, plan: Make
) -> None:
    experiment = plan("--grid", "lr")
    trial = grid_trials(experiment)[0]
    home = leave_outcome(tmp_path, trial)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    recorder = Recorder(experiment, tmp_path, ledger)
    recorder.on_trial_complete(0, [], tune_trial(trial))
    assert not list(home.glob("step_*"))
    collect_outcomes(tmp_path, ledger)
    assert Ledger(ledger.path).trials == [record(trial)]
    assert ledger.path.read_bytes().count(b"\n") == 1


def test_what_trials_went_without_is_said_once_and_kept(
    tmp_path: Path, plan: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = plan("--grid", "lr")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for trial in grid_trials(experiment)[:3]:
        leave_outcome(tmp_path, trial)
        home = trial_folder(tmp_path, trial.trial_id)
        write_outcome(home, dataclasses.replace(record(trial), notes=("no graph", "no kernel")))
        # One for each round of a search.
        Recorder(experiment, tmp_path, ledger).on_trial_complete(0, [], tune_trial(trial))
    assert [t.notes for t in Ledger(ledger.path).trials] == [("no graph", "no kernel")] * 3
    said = capsys.readouterr().err.splitlines()
    first = grid_trials(experiment)[0].trial_id
    assert said == [f"  {first}: no graph", f"  {first}: no kernel"]


def test_what_a_killed_driver_left_is_collected_and_said(
    tmp_path: Path, plan: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = plan("--grid", "lr")
    for trial in grid_trials(experiment)[:2]:
        leave_outcome(tmp_path, trial)
        home = trial_folder(tmp_path, trial.trial_id)
        write_outcome(home, dataclasses.replace(record(trial), notes=("no graph",)))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    collect_outcomes(tmp_path, ledger)
    assert len(Ledger(ledger.path).complete()) == 2
    assert capsys.readouterr().err.count("no graph") == 1


def test_a_retried_trials_result_is_collected_over_its_failure(tmp_path: Path, plan: Make) -> None:
    experiment = plan("--grid", "lr")
    trial = grid_trials(experiment)[0]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(record(trial, FAILED))
    leave_outcome(tmp_path, trial)
    collect_outcomes(tmp_path, ledger)
    assert [t.status for t in Ledger(ledger.path).trials] == [COMPLETE]


def test_a_failed_trial_keeps_its_checkpoints_and_is_recorded_once(
    tmp_path: Path, plan: Make
) -> None:
    experiment = plan("--grid", "lr")
    trial = grid_trials(experiment)[0]
    home = leave_outcome(tmp_path, trial, FAILED)
    assert list(home.glob("step_*"))
    ledger = Ledger(tmp_path / "ledger.jsonl")
    collect_outcomes(tmp_path, ledger)
    collect_outcomes(tmp_path, ledger)
    assert ledger.path.read_bytes().count(b"\n") == 1


def test_a_lost_process_is_recorded_as_failed(tmp_path: Path, plan: Make) -> None:
    experiment = plan("--grid", "lr")
    trial = grid_trials(experiment)[0]
    home = trial_folder(tmp_path, trial.trial_id)
    for step in (0, 40, 80):
        note_start(home, trial.values, trial.replicate, Start(session="a"))
        note_first_step(home, step)
    started = read_started(home)
    assert started is not None and [s.from_step for s in started.starts] == [0, 40, 80]
    assert started.values == trial.values and read_outcome(home) is None
    ledger = Ledger(tmp_path / "ledger.jsonl")
    Recorder(experiment, tmp_path, ledger).on_trial_error(0, [], tune_trial(trial))
    [failed] = ledger.trials
    assert (failed.status, failed.attempts, failed.epochs) == (FAILED, 3, ())
    assert failed.error is not None and "lost" in failed.error


def test_a_trial_that_could_not_write_has_not_ended(tmp_path: Path, plan: Make) -> None:
    experiment = plan("--grid", "lr")
    ended = tune_trial(grid_trials(experiment)[0])
    ended.last_result = {"status": NO_STORAGE}
    ledger = Ledger(tmp_path / "ledger.jsonl")
    Recorder(experiment, tmp_path, ledger).on_trial_complete(0, [], ended)
    assert ledger.trials == [] and not ledger.path.exists()


@pytest.mark.parametrize("name", ["outcome.json", "trial.json"])
@pytest.mark.parametrize("length", [0, 1, 20, -1])
def test_a_truncated_file_of_a_trial_counts_as_not_there(
    tmp_path: Path, plan: Make, name: str, length: int
) -> None:
    trial = grid_trials(plan("--grid", "lr"))[0]
    home = leave_outcome(tmp_path, trial)
    whole = (home / name).read_bytes().rstrip()
    (home / name).write_bytes(whole[:length])
    assert (read_outcome(home) is None) == (name == "outcome.json")
    assert (read_started(home) is None) == (name == "trial.json")
    assert list(home.glob("step_*"))  # what it goes on from


@pytest.mark.parametrize(
    "words",
    [
        ("--grid", "embed_dim", "--embed-dim", "16,20,64"),
        ("--grid", "lr,epochs", "--epochs", "1,7"),
        ("--lr", "1e-3"),
    ],
)
def test_a_study_holds_any_grid_in_any_folder(
    tmp_path: Path, plan: Make, words: tuple[str, ...]
) -> None:
    folder = tmp_path / "odd ?x%20#1 ü"
    folder.mkdir()
    experiment = plan(*words)
    ledger = Ledger(folder / "ledger.jsonl")
    trials = grid_trials(experiment)
    for number, trial in enumerate(trials):
        ledger.append(record(trial, loss=7.0 + number))
    ledger.append(dataclasses.replace(record(trials[-1], FAILED), trial_id="failed"))
    write_study(experiment, folder, ledger)
    copy = tmp_path / "study.db"  # Optuna's own address syntax can't name the odd folder
    copy.write_bytes((folder / "study.db").read_bytes())
    study = optuna.load_study(study_name=experiment.name, storage=f"sqlite:///{copy}")
    assert study.best_value == 7.0
    assert study.best_params == trials[0].values
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * len(trials) + ["FAIL"]
    assert sorted(p.name for p in folder.iterdir()) == ["ledger.jsonl", "study.db"]


@pytest.mark.parametrize(("limit", "then"), [(2, 3), (0, 1), (-1, -1)])
def test_a_process_that_retires_spends_none_of_a_trial_s_tries(
    plan: Make, tmp_path: Path, limit: int, then: int
) -> None:
    recorder = Recorder(plan("--grid", "lr"), tmp_path, Ledger(tmp_path / "ledger.jsonl"))
    tunes = SimpleNamespace(max_failures=limit)
    for kind in ("progress", RETIRES):
        recorder.on_trial_result(0, [], tunes, {"kind": kind})
    assert tunes.max_failures == then
