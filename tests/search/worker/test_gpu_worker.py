"""What only a GPU can show of a worker and of a search on it: pytest -m gpu tests/search/worker"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.loss.gpu import triton_runs
from minigpt_search.model.network import compiled
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.model.training import loop
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import read_outcome, trial_folder
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker import trainable

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # other versions of torch and Python than CI's
    pytest.mark.filterwarnings("error:no CUDA graph"),
    pytest.mark.filterwarnings("error:blocks are not compiled"),
]

CHECKOUT = Path(__file__).resolve().parents[3]
WIDTHS = "16,32,48,64,80,96,112,128,144,160"


def test_ten_shapes_in_one_reused_worker(
    search_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is compiled, and leaves the next its memory."""
    assert triton_runs()
    (tmp_path / "corpus").symlink_to(search_root / "corpus")
    words = ["--lr", "1e-3", "--embed-dim", WIDTHS, "--corpus", "small", "--name", "x"]
    args = make_parser().parse_args([*words, "--epochs", "1", "--tokens-per-epoch", "8192"])
    experiment = make_experiment(args, "cuda")
    experiment = with_corpus(experiment, open_corpus(search_root / "corpus" / "small"))
    folder = tmp_path / "experiments" / "x"
    experiment.write(folder)
    monkeypatch.setattr(compiled, "COMPILE_FROM_STEPS", 1)
    monkeypatch.setattr(trainable.tune, "report", lambda report: None)
    done: list[bool] = []
    compile_blocks = loop.compile_blocks

    def counted(*args: Any, **options: Any) -> bool:
        done.append(compile_blocks(*args, **options))
        return done[-1]

    monkeypatch.setattr(loop, "compile_blocks", counted)
    held = []
    for trial in grid_trials(experiment):
        cell = {"values": trial.values, "replicate": trial.replicate}
        trainable.run_trials({"pack": [cell]}, folder, "a")
        record = read_outcome(trial_folder(folder, trial.trial_id))
        assert record is not None and record.status == COMPLETE, record
        assert record.device.kind == "cuda" and not getattr(record, "notes", ())
        held.append(torch.cuda.memory_allocated())
    assert done == [True] * 10
    # What stays is a shape's code and handles, not its trial.
    assert all(later - earlier < 1e6 for earlier, later in itertools.pairwise(held[1:]))


def test_a_search_of_four_trials_two_at_a_time(search_root: Path) -> None:
    words = ["--lr", "5e-4,1e-3,2e-3,4e-3", "--embed-dim", "16", "--corpus", "small"]
    words += ["--epochs", "2", "--tokens-per-epoch", "8192", "--val-tokens", "512"]
    words += ["--device", "cuda", "--trials-per-gpu", "2", "--name", "on-gpu"]
    command = [sys.executable, str(CHECKOUT / "search" / "run.py"), *words]
    done = subprocess.run(
        [*command, "--out", str(search_root)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records = Ledger(search_root / "experiments" / "on-gpu" / "ledger.jsonl").trials
    assert len(records) == 4
    for record in records:
        assert (record.status, record.device.kind, record.attempts) == (COMPLETE, "cuda", 1)
        assert record.final.val_loss_nats < 11 and record.final.peak_memory_mb > 0


ASSERT_IN_A_KERNEL = """
import sys
from pathlib import Path
import torch
from minigpt_search.search.worker import trainable

def broken(*args, **options):
    torch.zeros(3, device="cuda")[torch.tensor([5], device="cuda")].sum().item()

trainable.train = broken
trainable.tune.report = print
values = {"lr": 1e-3}
trainable.run_trials({"pack": [{"values": values, "replicate": 0}]}, Path(sys.argv[1]), "a")
"""


def test_the_cause_of_an_assert_in_a_kernel_gets_to_the_record(
    search_root: Path, tmp_path: Path, make_gpu_plan: Callable[[Path], Path]
) -> None:
    """In a process of its own, whose context it breaks."""
    folder = make_gpu_plan(tmp_path)
    command = [sys.executable, "-c", ASSERT_IN_A_KERNEL, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=CHECKOUT)
    assert done.returncode == 1 and "DeviceBroken" in done.stderr
    [home] = (folder / "checkpoints").glob("*/")
    record = read_outcome(home)
    assert record is not None and record.status == FAILED
    assert "device-side assert triggered" in (record.error or "")


@pytest.fixture
def make_gpu_plan(search_root: Path) -> Callable[[Path], Path]:
    """`make_gpu_plan(home)`: the folder of a plan of one rate on the GPU, in `home`."""

    def make(home: Path) -> Path:
        (home / "corpus").symlink_to(search_root / "corpus")
        words = ("--lr", "1e-3,2e-3", "--embed-dim", "16", "--corpus", "small", "--name", "x")
        made = make_experiment(make_parser().parse_args(words), "cuda")
        made = with_corpus(made, open_corpus(search_root / "corpus" / "small"))
        made.write(home / "experiments" / "x")
        return home / "experiments" / "x"

    return make
