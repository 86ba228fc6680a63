"""The commands run as a user runs them, records made by hand, a storage in a folder."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, Device, EpochRecord, Timing
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.planning.calibration import Speed, shape_key, write_cache
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.choose_pack import choose_pack
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.storage.corpus_copy import push_corpus
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.trials.length import length_in

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def leave_speeds(search_root: Path) -> Callable[..., None]:
    """`leave_speeds(*words)`: made-up speeds of the shapes that these words search, so that no
    command measures them, which takes ten seconds of a processor. `tests/bad_input/test_machine.py`
    and `tests/search/planning/test_budget.py` have some measured."""

    def leave(*words: str) -> None:
        args = make_parser().parse_args(words)
        corpus = open_corpus(search_root / "corpus" / args.corpus)
        experiment = with_corpus(make_experiment(args, "cpu"), corpus)
        experiment = experiment.replace(pack=choose_pack(args.pack, experiment)[0])
        shapes = {
            shape_key(trial.config, experiment): Speed(
                training=10_000.0, scoring=40_000.0, memory_mb=500.0
            )
            for trial in check_trials(experiment, length_in(corpus))
        }
        write_cache(search_root, shapes)

    return leave


@pytest.fixture(scope="session")
def command_of(search_root: Path, leave_speeds: Callable[..., None]) -> Callable[..., list[str]]:
    """The command line of one of the project's scripts, on `search_root`."""

    def command(script: str, *words: str) -> list[str]:
        if script == "search/run.py" and not {"--resume", "--extend", "--budget"} & set(words):
            leave_speeds(*words)
        return [sys.executable, str(CHECKOUT / script), *words, "--out", str(search_root)]

    return command


@pytest.fixture(scope="session")
def run_script(
    command_of: Callable[..., list[str]], search_root: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script to its end, from another folder than the checkout."""

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_of(script, *words),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=search_root,
            env={k: v for k, v in os.environ.items() if k != "MINIGPT_HOME"},
        )

    return run


@pytest.fixture(scope="session")
def make_trial_record() -> Callable[..., TrialRecord]:
    """`make_trial_record(name, loss, status, seconds=3, **fields)`: a record of two epochs of the
    default configuration."""

    def make(
        name: str, loss: float = 7.0, status: str = COMPLETE, seconds: float = 3.0, **fields: Any
    ) -> TrialRecord:
        epochs = tuple(
            EpochRecord(
                epoch=number,
                train_loss_nats=value + 0.1,
                val_loss_nats=value,
                val_perplexity=math.exp(value),
                val_bits_per_byte=1.0,
                lr_last=1e-4,
                grad_norm_mean=0.5,
                tokens_seen=100 * number,
                wall_seconds=seconds * number,
                steps_per_second=3.0,
                peak_memory_mb=400.0 + number,
            )
            for number, value in ((1, loss + 1), (2, loss))
        )
        values: dict[str, Any] = {
            "trial_id": name,
            "config": RunConfig(),
            "replicate": 0,
            "status": status,
            "epochs": epochs,
            "error": None if status == COMPLETE else "because",
            "steps": 20,
            "timing": Timing(startup_seconds=1.0, training_seconds=seconds),
            "device": Device(kind="cpu", name="a processor", threads=1),
            "versions": {"python": "3.11"},
            "checkpoint": None,
            "attempts": 1,
            "ended_at": "2026-01-01T00:00:10+00:00",
        }
        return TrialRecord(**(values | fields))

    return make


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    """An empty one."""
    home = tmp_path / "shared"
    home.mkdir()
    return FolderStorage(str(home))


@pytest.fixture
def stored_experiment(search_root: Path, storage: FolderStorage) -> Experiment:
    """The plan `x` of two rates on the corpus `small`, to live in `storage`; nothing is there."""
    words = ("--lr", "1e-3,2e-3", "--embed-dim", "16", "--corpus", "small", "--name", "x")
    args = make_parser().parse_args([*words, "--storage", storage.uri])
    return with_corpus(make_experiment(args, "cpu"), open_corpus(search_root / "corpus" / "small"))


@pytest.fixture
def driver_folder(
    stored_experiment: Experiment, storage: FolderStorage, search_root: Path, tmp_path: Path
) -> Path:
    """The folder of `stored_experiment` on its driver's machine; plan and corpus are there too."""
    folder = tmp_path / "driver" / "experiments" / "x"
    stored_experiment.write(folder)
    storage.put(folder / "experiment.json", "experiments/x/experiment.json")
    push_corpus(storage, open_corpus(search_root / "corpus" / "small"))
    return folder
