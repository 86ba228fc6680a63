"""`--paired`: replicate r of every configuration has one seed, and a search keeps what it has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.training.trunk import trunk_of
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning.calibration import Speed
from minigpt_search.search.planning.estimate import Estimator, Speeds
from minigpt_search.search.planning.plan_text import plan_lines
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.results.configurations import without_seed
from minigpt_search.search.trials.groups import make_packs
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.trial import grid_trials, make_trial, trials_of


def experiment(*words: str) -> Experiment:
    args = make_parser().parse_args([*words, "--preset", "quick"])
    check_options(args)
    args.words = (*words, "--preset", "quick")
    made = make_experiment(args, "cpu").replace(versions={})
    return made.replace(hardware={"processor": "x", "cores": 2, "memory_gb": 1.0, "gpus": []})


def seeds(plan: Experiment) -> list[int]:
    return [trial.config.train.seed for trial in grid_trials(plan)]


def test_a_replicate_has_one_seed_in_all_configurations() -> None:
    words = ("--grid", "lr,embed_dim", "--seeds", "3", "--paired")
    plan = experiment(*words)
    trials = grid_trials(plan)
    by_replicate = [{t.config.train.seed for t in trials if t.replicate == r} for r in range(3)]
    assert all(len(found) == 1 for found in by_replicate) and len(set.union(*by_replicate)) == 3
    assert len({t.trial_id for t in trials}) == len(trials)
    assert seeds(plan) == seeds(experiment(*words))  # none of it by chance
    assert not set(seeds(plan)) & set(seeds(experiment(*words, "--seed", "1")))
    fresh = [make_trial(plan, {"lr": lr, "embed_dim": 64}, 3) for lr in (1e-3, 2e-3)]
    assert fresh[0].config.train.seed == fresh[1].config.train.seed not in set(seeds(plan))
    assert {len(pack) for pack in make_packs(trials, 3)} == {3}


def test_a_samplers_configurations_share_them_too() -> None:
    plan = experiment("--search", "tpe", "--trials", "5", "--seeds", "2", "--paired")
    values = {"lr": 1.2e-3, "epochs": 1, "embed_dim": 64}
    one, other = (trials_of(plan, {"values": values | {"lr": lr}}) for lr in (1.2e-3, 3.4e-4))
    assert [t.config.train.seed for t in one] == [t.config.train.seed for t in other]


def test_seeds_without_it_are_those_of_before() -> None:
    grid = in_bf16(experiment("--grid", "lr", "--seeds", "2", "--no-paired"))
    assert seeds(grid)[:3] == [1978357301, 802801476, 430145869]
    wsd = experiment("--grid", "epochs", "--schedule", "wsd", "--seed", "3", "--no-paired")
    assert set(seeds(in_bf16(wsd))) == {268028888}


def in_bf16(plan: Experiment) -> Experiment:
    """As on a processor that has it, wherever this runs."""
    base = plan.space.base.replace(precision="bf16")
    return plan.replace(space=dataclasses.replace(plan.space, base=base))


def test_of_a_paired_search_each_trunk_is_still_of_one_configuration() -> None:
    words = ("--grid", "lr,epochs", "--schedule", "wsd", "--paired")
    trials = grid_trials(experiment(*words))
    trunks = {trunk_of(trial.config) for trial in trials}
    assert len(trunks) == len({without_seed(t.config).replace(epochs=1) for t in trials}) == 4


def test_an_experiment_from_before_has_seeds_of_its_own(tmp_path: Path) -> None:
    plan = experiment("--grid", "lr", "--no-paired").replace(manifest={})
    plan.write(tmp_path / "x")
    path = tmp_path / "x" / "experiment.json"
    raw = json.loads(path.read_text())
    assert raw["noise"].pop("paired") is False
    raw.pop("crc32")
    path.write_text(json.dumps(raw))
    assert read_experiment(tmp_path / "x") == plan
    paired = experiment("--grid", "lr", "--paired").replace(manifest={})
    paired.write(tmp_path / "y")
    assert read_experiment(tmp_path / "y").noise.paired


@pytest.mark.parametrize("flag", ["--paired", "--no-paired"])
def test_what_extends_a_search_keeps_its_seeds(tmp_path: Path, flag: str) -> None:
    """Also where the command of then doesn't say and another is the default by now."""
    plan = experiment("--grid", "lr", flag).replace(manifest={}, name="x")
    plan = plan.replace(command=("search/run.py", "--grid", "lr", "--preset", "quick"))
    plan.write(tmp_path / "experiments" / "x")
    parser = make_parser()

    def extended(*words: str) -> Experiment:
        args = extended_arguments(parser, tmp_path, "x", ["--extend", "x", *words])
        check_options(args)
        return make_experiment(args, "cpu")

    assert extended("--seeds", "2").noise.paired == extended(flag).noise.paired
    assert extended("--seeds", "2").noise.paired == plan.noise.paired
    assert set(seeds(plan)) <= set(seeds(extended("--seeds", "2")))
    other = {"--paired": "--no-paired", "--no-paired": "--paired"}[flag]
    with pytest.raises(UserError, match=f"^{other}: the seeds of a configuration of x are"):
        extended(other)
    with pytest.raises(UserError, match=f"leave out {other}, or begin"):
        check_options(parser.parse_args(["--resume", "x", other]))


def test_the_plan_says_what_shared_seeds_give_and_cost() -> None:
    speed = Speed(training=10_000.0, scoring=40_000.0, memory_mb=500.0)
    for words, said in ((["--paired"], 1), (["--no-paired"], 0), (["--paired", "--lr", "1e-3"], 0)):
        plan = experiment("--grid", "lr", "--cpus-per-trial", "1", *words)
        estimator = Estimator(plan, Speeds({plan.space.base: speed}), 10_000, length_in(None))
        text = "\n".join(plan_lines(plan, grid_trials(plan), None, estimator, 60.0))
        assert text.count("Seeds      the same for every configuration (paired)") == said
