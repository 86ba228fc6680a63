"""Real searches over axes of every kind: two objectives, a limit, and a kill half-way."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import open_ledger
from minigpt_search.search.results.cost import pareto_front
from minigpt_search.search.space.objective import counted_cost

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = (
    *("--search", "qmc", "--trials", "3", "--corpus", "small", "--grid", "tie_head,lr,dropout"),
    *("--space", "embed_dim=8,16", "--space", "n_heads=2,4", "--space", "lr=1e-3:1e-2:log"),
    *("--objective", "val_loss,cost", "--max-cost", "1Tflop", "--max-concurrent", "1"),
    *("--cpus-per-trial", "1", "--epochs", "1", "--tokens-per-epoch", "4096"),
    *("--val-tokens", "512"),
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def front(run_script: Run) -> subprocess.CompletedProcess[str]:
    """The experiment `front`."""
    done = run_script("search/run.py", *WORDS, "--name", "front")
    assert done.returncode == 0, done.stderr
    return done


def test_a_search_with_two_objectives_ends_with_its_front(
    front: subprocess.CompletedProcess[str], search_root: Path
) -> None:
    done = front
    assert "tie_head in {true, false}; lr in 0.001..0.01; dropout in 0..0.4;" in done.stdout
    assert "val_loss against flop; at most 1Tflop" in done.stdout
    folder = search_root / "experiments" / "front"
    experiment, ledger = read_experiment(folder), open_ledger(folder, False)
    assert len(ledger.complete()) == 3
    for record in ledger.trials:
        assert record.config.model.embed_dim % record.config.model.n_heads == 0
        assert counted_cost(record.config, "flop", experiment.corpus.manifest) <= 1e12
    best = [r for (r,) in pareto_front([[r] for r in ledger.complete()], "flop")]
    assert f"Pareto front of validation loss and flop: {len(best)} of 3" in done.stdout
    study = optuna.load_study(study_name="front", storage=f"sqlite:///{folder / 'study.db'}")
    assert len(study.directions) == 2
    assert {tuple(t.values) for t in study.best_trials} >= {
        (r.final.val_loss_nats, counted_cost(r.config, "flop", experiment.corpus.manifest))
        for r in best
    }


@pytest.mark.usefixtures("front")
def test_its_report_has_the_front_and_a_cut_search_comes_to_the_same(
    run_script: Run, search_root: Path
) -> None:
    report = run_script("reports/generate.py", "front")
    assert report.returncode == 0, report.stderr
    folder = search_root / "experiments" / "front"
    assert "Pareto front" in (folder / "report" / "report.md").read_text()
    again = search_root / "experiments" / "front-again"
    read_experiment(folder).replace(name="front-again").write(again)
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (again / "ledger.jsonl").write_bytes(b"".join(lines[:2]))
    resumed = run_script("search/run.py", "--resume", "front-again")
    assert resumed.returncode == 0, resumed.stderr
    assert losses(again) == losses(folder)


def losses(folder: Path) -> dict[str, float]:
    """The complete trials' losses by their ids."""
    return {t.trial_id: t.final.val_loss_nats for t in open_ledger(folder, False).complete()}
