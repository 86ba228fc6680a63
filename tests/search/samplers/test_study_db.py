"""`study.db` says of every trial what the ledger does, in a form that Optuna reads."""

from __future__ import annotations

import dataclasses
import pickle
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.driver.live_study import LiveStudy
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.samplers import study_db
from minigpt_search.search.samplers.study_db import StudyFile, write_study
from minigpt_search.search.trials.trial import make_trial

TPE = ("--search", "tpe", "--trials", "4", "--grid", "lr,embed_dim,tie_head,dropout")
VALUES = [
    {"lr": 1e-3, "embed_dim": 64, "tie_head": True, "dropout": 0.0},
    {"lr": 2e-3, "embed_dim": 32, "tie_head": False, "dropout": 0.1},
    {"lr": 3e-3, "embed_dim": 32, "tie_head": True, "dropout": 0.2},
    {"lr": 4e-3, "embed_dim": 96, "tie_head": True, "dropout": 0.3},
]


def written(
    experiment: Experiment, folder: Path, make: Callable[..., TrialRecord]
) -> tuple[optuna.Study, list[TrialRecord]]:
    """The study of four trials, one of each status."""
    ledger = Ledger(folder / "ledger.jsonl")
    statuses = (COMPLETE, STOPPED, DIVERGED, FAILED)
    for number, (values, status) in enumerate(zip(VALUES, statuses, strict=True)):
        trial = make_trial(experiment, values, 0)
        record = make(trial.trial_id, 7.0 - number / 4, status, 10.0 * (number + 1))
        ledger.append(dataclasses.replace(record, config=trial.config))
    write_study(experiment, folder, ledger)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    study = optuna.load_study(study_name=experiment.name, storage=storage)
    return study, ledger.trials


def plan(*words: str) -> Experiment:
    args = make_parser().parse_args([*words, "--preset", "quick", "--name", "s"])
    check_options(args)
    return make_experiment(args, "cpu")


def test_every_state_value_and_number(
    tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    study, records = written(plan(*TPE), tmp_path, make_trial_record)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert [trial.state for trial in study.trials] == states
    assert study.best_value == 7.0 and study.best_params == VALUES[0]
    for trial, record, values in zip(study.trials, records, VALUES, strict=True):
        assert trial.params == values
        thousandths = 1000 / record.config.train.epochs
        curve = {round(e.epoch * thousandths): e.val_loss_nats for e in record.epochs}
        assert trial.intermediate_values == curve
        tokens = record.epochs[-1].tokens_seen
        assert trial.user_attrs == {
            "trial_id": record.trial_id,
            "status": record.status,
            "replicate": 0,
            "error": record.error,
            "seconds": record.timing.total(),
            "training_seconds": record.timing.training_seconds,
            "flop": tokens * flops_per_token(record.config.model),
            "parameters": parameter_count(record.config.model),
            "tokens": tokens,
            "peak_memory_mb": 402.0,
        }
        assert trial.duration is not None
        assert trial.duration.total_seconds() == pytest.approx(record.timing.total())
    assert study.trials[0].distributions == {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "embed_dim": IntDistribution(32, 256, step=32),
        "tie_head": CategoricalDistribution((True, False)),
        "dropout": FloatDistribution(0.0, 0.4),
    }


def test_two_objectives_and_a_limit(
    tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    experiment = plan(*TPE, "--objective", "val_loss,seconds", "--max-cost", "5s")
    study, records = written(experiment, tmp_path, make_trial_record)
    assert study.metric_names == ["val_loss_nats", "training_seconds"]
    assert study.trials[0].values == [7.0, 10.0]
    assert [list(trial.constraints.values()) for trial in study.trials] == [[5], [15], [25], [35]]
    assert study.best_trials == []  # the one that is complete is above the limit
    assert records[0].status == COMPLETE


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the database but its own keys, by table."""
    with closing(sqlite3.connect(path)) as study:
        names = study.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found = {}
        for (name,) in names:
            columns = [c[1] for c in study.execute(f"PRAGMA table_info({name})") if not c[5]]
            chosen = ", ".join(f'"{column}"' for column in ["rowid", *columns])
            rows = study.execute(f"SELECT {chosen} FROM {name}").fetchall()
            found[name] = sorted((row[1:] for row in rows), key=repr)
    return found


@pytest.mark.parametrize("more", [(), ("--objective", "val_loss,seconds", "--max-cost", "5s")])
def test_rows_are_those_that_optuna_writes(
    more: tuple[str, ...], tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    study, _ = written(plan(*TPE, *more), tmp_path, make_trial_record)
    copy = tmp_path / "copy.db"
    optuna.copy_study(
        from_study_name=study.study_name,
        from_storage=f"sqlite:///{tmp_path / 'study.db'}",
        to_storage=f"sqlite:///{copy}",
    )
    assert tables(tmp_path / "study.db") == tables(copy)


def records_of(
    experiment: Experiment, make: Callable[..., TrialRecord], count: int
) -> list[TrialRecord]:
    """So many complete trials of different rates."""
    trials = [make_trial(experiment, VALUES[0] | {"lr": 1e-3 + n * 1e-6}, 0) for n in range(count)]
    return [dataclasses.replace(make(t.trial_id, 7.0), config=t.config) for t in trials]


def test_growing_comes_to_what_is_written_whole(
    tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    experiment = plan(*TPE)
    records = records_of(experiment, make_trial_record, 5)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    live = LiveStudy(experiment, tmp_path, ledger)
    live.file = StudyFile(experiment, tmp_path)
    whole = tmp_path / "whole"
    for count in (0, 1, 1, 3):
        for record in records[:count]:
            ledger.append(record)
        del records[:count]
        live.update()
        whole.mkdir(exist_ok=True)
        write_study(experiment, whole, ledger)
        assert tables(tmp_path / "study.db") == tables(whole / "study.db")
    # One that failed is tried again: the ledger's newest record of it is the last.
    ledger.append(dataclasses.replace(ledger.trials[0], attempts=2))
    live.update()
    write_study(experiment, whole, ledger)
    assert tables(tmp_path / "study.db") == tables(whole / "study.db")


def test_a_reader_that_locks_it_holds_nothing_up(
    tmp_path: Path,
    make_trial_record: Callable[..., TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(study_db, "PATIENCE_SECONDS", 0.1)
    experiment, path = plan(*TPE), tmp_path / "study.db"
    records = records_of(experiment, make_trial_record, 3)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    live = LiveStudy(experiment, tmp_path, ledger)
    live.file = StudyFile(experiment, tmp_path)
    live.update()
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM trials").fetchall()
        ledger.append(records[0])
        live.update()
        assert "database is locked: the search goes on" in capsys.readouterr().err
        ledger.append(records[1])
        live.update()  # whole, into another file
        assert len(tables(path)["trials"]) == 2
    ledger.append(records[2])
    live.update()
    assert len(tables(path)["trials"]) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_whatever_is_there_is_replaced(
    content: bytes, tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    (tmp_path / "study.db").write_bytes(content)
    (tmp_path / "study.db-journal").write_bytes(content)
    study, records = written(plan(*TPE), tmp_path, make_trial_record)
    assert len(study.trials) == len(records)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger.jsonl", "study.db"]


WRITER = """
import pickle, sys
from pathlib import Path
from minigpt_search.search.samplers.study_db import StudyFile
experiment, records, folder = pickle.loads(Path(sys.argv[1]).read_bytes())
file = StudyFile(experiment, folder)
file.write(records[:1])
print("begun", flush=True)
while True:
    for number in range(1, len(records), 3):
        file.add(records[number : number + 3], number)
    file.write(records[:1])
"""


def test_after_a_kill_at_any_moment_optuna_reads_it(
    tmp_path: Path, make_trial_record: Callable[..., TrialRecord]
) -> None:
    experiment = plan(*TPE)
    records = records_of(experiment, make_trial_record, 31)
    (tmp_path / "given").write_bytes(pickle.dumps((experiment, records, tmp_path)))
    command = [sys.executable, "-c", WRITER, str(tmp_path / "given")]
    for number in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"begun\n"
            time.sleep(0.05 + 0.2 * number)
            writer.kill()
        with closing(sqlite3.connect(tmp_path / "study.db")) as study:
            assert study.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
        found = optuna.load_study(study_name="s", storage=storage).trials
        assert {trial.state for trial in found} == {TrialState.COMPLETE}
        assert [t.user_attrs["trial_id"] for t in found] == [
            r.trial_id for r in records[: len(found)]
        ]
        storage.engine.dispose()
