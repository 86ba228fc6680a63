"""`--max-disk`: sizes, what goes first, what never goes, and that the predicted sizes are right."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, EpochRecord
from minigpt_search.model.training.checkpoint import load_model
from minigpt_search.model.training.checkpoint_files import STEP_BYTES_PER_PARAMETER
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.train import train
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.driver import disk_limit
from minigpt_search.search.driver.disk_limit import DiskLimit, removable
from minigpt_search.search.planning.disk import (
    check_limit,
    disk_line,
    final_bytes,
    parse_size,
    running_bytes,
)
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker.trial_record import make_record

MB = 1_000_000


def planned(*words: str) -> Experiment:
    """A grid of six rates, two at a time, of a model with 811,728 parameters."""
    rates = "1e-4,2e-4,3e-4,4e-4,5e-4,6e-4"
    words = ("--lr", rates, "--preset", "quick", "--embed-dim", "16", *words)
    fixed = ("--device", "cpu", "--max-concurrent", "2", "--cpus-per-trial", "1")
    if "--max-concurrent" in words:
        fixed = ("--device", "cpu")
    return make_experiment(make_parser().parse_args([*words, *fixed]), "cpu")


class Folder:
    """An experiment's folder with a ledger, and files of round sizes instead of weights."""

    def __init__(self, home: Path, limit: int | None) -> None:
        self.home, self.ledger = home, Ledger(home / "ledger.jsonl")
        self.experiment = planned().replace(max_disk_bytes=limit)
        self.trials = grid_trials(self.experiment)

    def write(self, trial: int, name: str, megabytes: int) -> Path:
        path = self.home / "checkpoints" / self.trials[trial].trial_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(megabytes * MB))
        return path

    def end(self, trial: int, status: str, loss: float = 0.0) -> None:
        record = make_record(self.trials[trial], "an error", 1, "cpu")
        if status == COMPLETE:
            record = dataclasses.replace(record, epochs=(make_epoch(loss),), error=None)
        self.ledger.append(dataclasses.replace(record, status=status))

    def left(self) -> set[str]:
        names = [trial.trial_id for trial in self.trials]
        files = (self.home / "checkpoints").glob("*/*.pt")
        return {f"{names.index(path.parent.name)}/{path.name}" for path in files}


def make_epoch(loss: float) -> EpochRecord:
    rest: dict[str, Any] = {
        "lr_last": 1e-4,
        "grad_norm_mean": 1.0,
        "tokens_seen": 64,
        "wall_seconds": 1.0,
    }
    rest |= {"steps_per_second": 1.0, "peak_memory_mb": 1.0, "val_bits_per_byte": loss}
    return EpochRecord(
        epoch=1, train_loss_nats=loss, val_loss_nats=loss, val_perplexity=math.exp(loss), **rest
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000),
        ("2GB", 2_000_000_000),
        ("1.5 gib", 1_610_612_736),
        ("3K", 3000),
        ("1T", 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "-1GB", "GB", "1e3MB", "0GB", "2 apples", "1GBps"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"--max-disk .*500MB or 2GB"):
        parse_size(text)


def test_losers_go_from_the_worst_and_the_best_and_unfinished_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk_limit, "running_bytes", lambda experiment, trials: 5 * MB * trials)
    folder = Folder(tmp_path, limit=41 * MB)
    limit = DiskLimit(folder.experiment, tmp_path, folder.ledger)
    for trial, loss in enumerate((7.0, 6.0, 8.0)):
        folder.write(trial, "final.pt", 10)
        folder.end(trial, COMPLETE, loss)
    folder.write(3, "step_000000001.pt", 2)  # it diverged
    folder.end(3, DIVERGED)
    folder.write(4, "step_000000001.pt", 3)  # it failed, and may go on from here
    folder.end(4, FAILED)
    folder.write(5, "step_000000001.pt", 2)  # it is running
    # 30 + 2 + 3 MB, and 5 for each of the two that the plan still lacks: 45 in all.
    limit.enforce()
    everything = {"0/final.pt", "1/final.pt", "2/final.pt"}
    unfinished = {"4/step_000000001.pt", "5/step_000000001.pt"}
    assert folder.left() == (everything - {"2/final.pt"}) | unfinished
    folder.write(5, "step_000000002.pt", 17)  # more than what was kept free for it
    limit.enforce()
    limit.enforce()
    assert folder.left() == {"1/final.pt", "5/step_000000002.pt"} | unfinished
    assert capsys.readouterr().err == ""
    folder.write(5, "step_000000003.pt", 10)
    limit.enforce()
    limit.enforce()
    assert folder.left() == {"1/final.pt"} | unfinished | {f"5/step_00000000{n}.pt" for n in (2, 3)}
    [warning] = capsys.readouterr().err.splitlines()  # once
    assert "--max-disk 41.0 MB" in warning and "42.0 MB" in warning


def test_the_winners_other_seeds_go_last_since_one_may_become_its_median(tmp_path: Path) -> None:
    folder = Folder(tmp_path, limit=MB)
    folder.experiment = planned("--seeds", "3").replace(max_disk_bytes=MB)
    folder.trials = grid_trials(folder.experiment)
    files = []
    for trial, loss in enumerate((6.2, 6.1, 6.0, 6.3, 6.15, 6.05)):
        files.append(folder.write(trial, "final.pt", 1))
        folder.end(trial, COMPLETE, loss)
    order = removable(folder.experiment, folder.ledger, tmp_path, files)
    left = [files.index(path) for path in order]
    first = folder.trials[0].config.train.lr_peak
    of_first = [trial.config.train.lr_peak == first for trial in folder.trials[:6]]
    assert of_first == [True] * 3 + [False] * 3
    assert left == [3, 4, 5, 0, 2]  # the median of the first rate, trial 1, stays


def test_nothing_goes_without_a_limit_or_below_it(tmp_path: Path) -> None:
    for limit in (None, 200 * MB):
        folder = Folder(tmp_path / str(limit), limit)
        (tmp_path / str(limit)).mkdir()
        for trial in range(3):
            folder.write(trial, "final.pt", 10)
            folder.end(trial, COMPLETE, 6.0 + trial)
        DiskLimit(folder.experiment, folder.home, folder.ledger).enforce()
        assert len(folder.left()) == 3


def test_a_limit_that_cannot_hold_what_must_stay_is_refused() -> None:
    check_limit(planned("--max-disk", "65MB"))
    with pytest.raises(
        UserError, match=r"--max-disk 60.0 MB: .* 2 running trials need up to 63.8 MB"
    ):
        check_limit(planned("--max-disk", "60MB"))
    check_limit(planned("--max-disk", "60MB", "--max-concurrent", "1"))


def test_the_plan_says_what_checkpoints_take() -> None:
    experiment = planned("--max-disk", "1GB")
    line = disk_line(experiment, [trial.config for trial in grid_trials(experiment)])
    # 811,728 parameters: 4 bytes of 6 trials, and 36 of two running ones
    assert line == (
        "Disk       about 19.5 MB for checkpoints (at most 77.9 MB while running); "
        "--max-disk 1.0 GB: the worst trials' go first"
    )


def test_the_limit_is_kept_in_the_experiment_and_older_ones_have_none(tmp_path: Path) -> None:
    experiment = planned("--max-disk", "2GB")
    experiment.write(tmp_path / "new")
    assert read_experiment(tmp_path / "new").storage.max_disk_bytes == 2_000_000_000
    path = tmp_path / "new" / "experiment.json"
    fields = json.loads(path.read_text())
    del fields["storage"]["max_disk_bytes"], fields["crc32"]
    path.write_text(json.dumps(fields))
    assert read_experiment(tmp_path / "new").storage.max_disk_bytes is None


def test_checkpoints_are_of_the_predicted_size(search_root: Path, tmp_path: Path) -> None:
    config = RunConfig().replace(embed_dim=16, tokens_per_epoch=1024, epochs=1, batch_size=4)
    config = config.replace(warmup_steps=1, val_tokens=256)
    sizes: list[int] = []

    def on_progress(_: Any) -> None:
        sizes.extend(path.stat().st_size for path in tmp_path.glob("step_*.pt"))

    corpus, hooks = open_corpus(search_root / "corpus" / "small"), Hooks(on_progress=on_progress)
    train(config, corpus, checkpoint_dir=tmp_path, checkpoint_every_seconds=0.0, hooks=hooks)
    parameters = parameter_count(config.model)
    assert (tmp_path / "final.pt").stat().st_size == pytest.approx(final_bytes(config), rel=0.02)
    assert max(sizes) == pytest.approx(STEP_BYTES_PER_PARAMETER * parameters, rel=0.02)
    experiment = planned("--max-concurrent", "1")
    held = sum(path.stat().st_size for path in tmp_path.glob("*.pt"))
    assert held < running_bytes(experiment, 1)


def test_removed_weights_are_explained(tmp_path: Path) -> None:
    (tmp_path / "outcome.json").write_text("{}")
    with pytest.raises(UserError, match="--max-disk removes"):
        load_model(tmp_path / "final.pt")
