"""Grids over epochs under wsd: one trunk for each setting of the others, told and counted so."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.records import COMPLETE, FAILED, EpochRecord
from minigpt_search.model.training.train import train
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.driver.recorder import Recorder
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.planning.calibration import Speed, Speeds
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.choose_pack import choose_pack
from minigpt_search.search.planning.disk import at_a_time
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.plan_text import plan_lines
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import read_outcome, trial_folder
from minigpt_search.search.trials.groups import price_line, shared_steps, trunk_groups
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker import trainable

Run = Callable[..., subprocess.CompletedProcess[str]]
WSD = ("--schedule", "wsd", "--preset", "quick")

SPEED = Speed(training=2000.0, scoring=6000.0, memory_mb=700.0)


def options(*words: str) -> argparse.Namespace:
    args = make_parser().parse_args(words)
    check_options(args)
    return args


def experiment(*words: str) -> Experiment:
    return make_experiment(options(*WSD, *words), "cpu")


def test_one_trunk_for_each_setting_of_the_other_axes_and_seed() -> None:
    plan = experiment("--grid", "epochs,lr", "--epochs", "4,1,2", "--lr", "1e-3,2e-3")
    plan = plan.replace(seeds=2)
    groups = trunk_groups(grid_trials(plan))
    assert len(groups) == 4
    for group in groups:
        assert [trial.values["epochs"] for trial in group] == [1, 2, 4]
        assert len({(t.values["lr"], t.replicate, t.config.train.seed) for t in group}) == 1
        assert len({trial.trial_id for trial in group}) == 3
    assert len({group[0].config.train.seed for group in groups}) == 4


def test_other_schedules_share_nothing_and_no_seed() -> None:
    plan = make_experiment(options("--grid", "epochs", "--schedule", "cosine"), "cpu")
    trials = grid_trials(plan)
    assert [len(group) for group in trunk_groups(trials)] == [1] * 4
    assert len({trial.config.train.seed for trial in trials}) == 4
    assert price_line(plan, trials, length_in(None)) == []


def test_the_price_is_that_of_the_trunk_and_the_decays() -> None:
    plan = experiment("--grid", "epochs", "--epochs", "1,2,4,8")
    trials, length = grid_trials(plan), length_in(None)
    [line] = price_line(plan, trials, length)
    assert "9.4 epochs are trained instead of 15" in line and "(1 trunk)" in line
    shared = shared_steps(plan, trials, length)
    per_epoch = length(trials[0]).steps_per_epoch
    expected = {n: round(0.8 * n * per_epoch) for n in (1, 2, 4)}
    steps = {t.values["epochs"]: shared[t.trial_id] for t in trials if t.trial_id in shared}
    assert steps == pytest.approx(expected, abs=1)


def test_the_plan_counts_what_is_trained() -> None:
    counted = {}
    for name in ("wsd", "linear"):
        words = ("--schedule", name, "--epochs", "1,2,4,8", "--embed-dim", "16")
        words += ("--cpus-per-trial", "1", "--max-concurrent", "1")
        plan = make_experiment(options(*words, "--preset", "quick"), "cpu")
        estimator = Estimator(
            plan,
            Speeds({plan.space.base: SPEED}),
            10_000,
            length_in(None),
        )
        line = "\n".join(plan_lines(plan, grid_trials(plan), None, estimator, 60.0))
        tokens = line.split("trials, ")[1].split(" training tokens")[0]
        counted[name] = int(tokens.replace(",", ""))
        assert ("9.4 epochs are trained instead of 15" in line) == (name == "wsd")
    assert counted["wsd"] / counted["linear"] == pytest.approx(9.4 / 15, rel=1e-3)


def test_trunks_are_the_processes_and_each_has_two_runs_in_memory_and_on_disk() -> None:
    plan = experiment("--grid", "epochs", "--max-concurrent", "1")
    assert plan.has_branches and at_a_time(plan) == 2
    assert experiment("--grid", "epochs").machine.max_concurrent == 1
    assert not experiment("--epochs", "2", "--grid", "lr").has_branches
    sampled = experiment("--search", "tpe", "--trials", "3")
    assert not sampled.has_branches and sampled.space.base.train.schedule == "wsd"


def test_packs_of_branches_are_refused() -> None:
    plan = experiment("--grid", "epochs,lr")
    with pytest.raises(UserError, match="--pack 2: under --schedule wsd runs that differ in ep"):
        choose_pack("2", plan)
    assert choose_pack("auto", plan)[0] == 1
    assert choose_pack("1", plan) == choose_pack(None, plan) == (1, None)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--decay-fraction", "0.3"), "--decay-fraction goes with --schedule wsd"),
        (("--schedule", "wsd", "--decay-fraction", "1.5"), "decay_fraction=1.5: give a number"),
        (("--schedule", "wsd", "--decay-fraction", "0.95", "--epochs", "1,2"), "decay after"),
    ],
)
def test_a_decay_that_makes_no_sense_is_refused(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        check_trials(
            make_experiment(options("--grid", "epochs", "--preset", "quick", *words), "cpu"),
            length_in(None),
        )


def test_a_cell_has_the_same_seed_under_both_parametrizations() -> None:
    words = ("--grid", "embed_dim")
    pairs = zip(
        grid_trials(experiment(*words)),
        grid_trials(experiment(*words, "--parametrization", "mup")),
        strict=True,
    )
    for standard, mup in pairs:
        assert standard.config.train.seed == mup.config.train.seed
        assert standard.trial_id != mup.trial_id


def test_the_recipes_flags_reach_every_trial() -> None:
    words = ("--parametrization", "mup", "--decay-fraction", "0.3", "--grid", "embed_dim")
    for trial in grid_trials(experiment(*words)):
        recipe = trial.config.train
        assert (recipe.schedule, recipe.decay_fraction) == ("wsd", 0.3)
        assert trial.config.width_ratio == trial.config.model.embed_dim / 128


CLOCKS = {"wall_seconds", "steps_per_second", "peak_memory_mb"}


def numbers(epochs: tuple[EpochRecord, ...]) -> list[dict[str, float]]:
    return [{k: v for k, v in vars(epoch).items() if k not in CLOCKS} for epoch in epochs]


@pytest.mark.usefixtures("threads")
def test_a_branchs_fault_is_its_own_and_each_end_is_recorded_once(
    search_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--epochs", "1,2,3", "--embed-dim", "16", "--corpus", "small", "--val-tokens", "1024")
    asked = experiment(*words, "--cpus-per-trial", "1", "--max-concurrent", "1")
    small = open_corpus(search_root / "corpus" / "small")
    base = asked.space.base.replace(tokens_per_epoch=1024)
    plan = with_corpus(asked.replace(name="branch-fault", base=base), small)
    folder = search_root / "experiments" / plan.name
    plan.write(folder)
    [trials] = trunk_groups(grid_trials(plan))
    homes = [trial_folder(folder, trial.trial_id) for trial in trials]
    (homes[1] / "final.pt").mkdir(parents=True)  # in the way of its weights
    cells = {"pack": [{"values": t.values, "replicate": t.replicate} for t in trials]}
    ledger = Ledger(folder / "ledger.jsonl")
    recorder, tune_trial = Recorder(plan, folder, ledger), SimpleNamespace(config=cells)
    written: list[int] = []

    def report(result: dict[str, Any]) -> None:
        tune_trial.last_result = result
        recorder.on_trial_result(0, [], tune_trial, result)
        written.append(len(ledger.trials))

    monkeypatch.setattr(trainable.tune, "report", report)
    trainable.run_trials(cells, folder, session="a")
    assert {0, 1, 2} <= set(written)  # a branch's record doesn't wait for its trunk
    recorder.on_trial_complete(0, [], tune_trial)
    outcomes = [read_outcome(home) for home in homes]
    assert [o.status for o in outcomes if o] == [COMPLETE, FAILED, COMPLETE]
    assert outcomes[0] is not None and outcomes[0].trunk_steps > 0
    assert len(ledger.path.read_bytes().splitlines()) == len(ledger.trials) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_a_killed_grid_over_epochs_ends_with_the_bits_of_runs_from_their_start(
    end_when: Run, run_script: Run, search_root: Path
) -> None:
    folder = search_root / "experiments" / "trunk"
    words = (*WSD, "--epochs", "1,2,3", "--embed-dim", "16", "--corpus", "small")
    words += ("--tokens-per-epoch", "4096", "--val-tokens", "1024", "--name", "trunk")
    words += ("--cpus-per-trial", "1", "--max-concurrent", "1")
    # when the trunk has left a checkpoint for a shorter run
    end_when(lambda: any(folder.glob("checkpoints/*/step_*.pt")), *words)
    done = run_script("search/run.py", "--resume", "trunk")
    assert done.returncode == 0, done.stderr
    plan, ledger = read_experiment(folder), Ledger(folder / "ledger.jsonl")
    assert {t.trial_id for t in ledger.complete()} == {t.trial_id for t in grid_trials(plan)}
    assert done.stderr.count("perplexity") == 3  # each end is told once
    assert not list(folder.rglob("step_*.pt"))
    corpus = open_corpus(plan.corpus_folder(folder))
    for record in ledger.complete():
        assert record.device is not None
        torch.set_num_threads(record.device.threads)
        alone = train(record.config, corpus)
        assert alone.status == record.status == COMPLETE
        assert numbers(record.epochs) == numbers(alone.epochs)
        assert (record.trunk_steps > 0) == (record.config.train.epochs < 3)
        assert record.trunk_seconds < record.timing.total()


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_a_killed_ladder_ends_with_the_bits_of_runs_from_their_start(
    end_when: Run, run_script: Run, search_root: Path
) -> None:
    folder = search_root / "experiments" / "rungs"
    words = ("--ladder", "--target", "quick", "--schedule", "wsd", "--space", "warmup_steps=10")
    words += ("--tokens-per-epoch", "8000", "--val-tokens", "512", "--corpus", "small")
    words += ("--rungs", "800,1000,1250", "--rates", "3", "--lr", "8e-3", "--embed-dim", "8")
    words += ("--seq-len", "8", "--space", "batch_size=1", "--space", "n_layers=1")
    words += ("--cpus-per-trial", "1", "--name", "rungs")
    # when rungs have left checkpoints for the next
    end_when(lambda: len(list(folder.glob("checkpoints/*/step_*.pt"))) > 1, *words)
    done = run_script("search/run.py", "--resume", "rungs")
    assert done.returncode == 0, done.stderr
    plan, ledger = read_experiment(folder), Ledger(folder / "ledger.jsonl")
    assert ladder_state(plan, ledger.trials).due == ()
    assert not list(folder.rglob("step_*.pt"))
    assert any(record.trunk_steps for record in ledger.trials)
    corpus = open_corpus(plan.corpus_folder(folder))
    for record in ledger.complete():
        assert record.device is not None
        torch.set_num_threads(record.device.threads)
        assert numbers(record.epochs) == numbers(train(record.config, corpus).epochs)
