"""A sampler's configurations with several seeds: told as one result, and resumed within one."""

from __future__ import annotations

import math
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import TrialRecord, open_ledger
from minigpt_search.search.results.configurations import configuration_result

Make = Callable[..., TrialRecord]


def test_a_cell_is_told_by_the_mean_of_its_replicates(make_trial_record: Make) -> None:
    records = [make_trial_record(f"{n}", 7.0 + n, COMPLETE, 10.0 * n) for n in range(1, 4)]
    result = configuration_result(records)
    assert result.status == COMPLETE and result.loss == 9.0
    seconds = [record.timing.training_seconds for record in records]
    assert result.training_seconds == pytest.approx(sum(seconds) / 3)


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ((COMPLETE, DIVERGED), DIVERGED),
        ((STOPPED, COMPLETE), STOPPED),
        ((STOPPED, DIVERGED), DIVERGED),
        ((DIVERGED, FAILED), FAILED),
    ],
)
def test_a_cell_is_as_good_as_its_worst_replicate(
    make_trial_record: Make, statuses: tuple[str, ...], told: str
) -> None:
    result = configuration_result([make_trial_record(s, 7.0, s, 1.0) for s in statuses])
    assert result.status == told and result.loss == math.log(50_257)


def test_a_sampler_tries_each_configuration_with_every_seed_also_after_a_cut(
    run_script: Callable[..., subprocess.CompletedProcess[str]], search_root: Path
) -> None:
    words = ("--search", "random", "--trials", "2", "--seeds", "2", "--epochs", "1")
    words += ("--corpus", "small", "--space", "embed_dim=8", "--lr", "1e-3,1e-2", "--stop", "asha")
    words += ("--tokens-per-epoch", "8192", "--val-tokens", "512")
    words += ("--max-concurrent", "1", "--cpus-per-trial", "1")
    done = run_script("search/run.py", *words, "--name", "twice")
    assert done.returncode == 0, done.stderr
    assert "4 trials by random" in done.stdout and "2 seeds" in done.stdout
    folder = search_root / "experiments" / "twice"
    trials = open_ledger(folder, False).complete()
    cells = Counter(trial.config.replace(seed=0) for trial in trials)
    assert sorted(cells.values()) == [2, 2]
    assert [trial.replicate for trial in trials] == [0, 1, 0, 1]
    assert len({trial.config.train.seed for trial in trials}) == 4

    again = search_root / "experiments" / "twice-again"
    read_experiment(folder).replace(name="twice-again").write(again)
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (again / "ledger.jsonl").write_bytes(b"".join(lines[:3]))  # one seed of the second is missing
    resumed = run_script("search/run.py", "--resume", "twice-again")
    assert resumed.returncode == 0, resumed.stderr
    assert [(t.trial_id, t.epochs[-1].val_loss_nats) for t in open_ledger(again, False).trials] == [
        (t.trial_id, t.epochs[-1].val_loss_nats) for t in trials
    ]
