"""An experiment decides its trials, their seeds and their ids; impossible ones are all named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.records.experiment import (
    Experiment,
    check_name,
    find_experiment,
    only_driver,
    read_experiment,
)
from minigpt_search.search.space.presets import FULL, QUICK
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.trial import grid_trials, make_trial, trials_of


def experiment(*words: str) -> Experiment:
    args = make_parser().parse_args(words)
    check_options(args)
    return make_experiment(args, "cpu")


def test_trials_differ_in_seed_and_id_and_are_the_same_each_time() -> None:
    plan = experiment("--grid", "lr", "--seeds", "2")
    trials = grid_trials(plan)
    assert [(t.values["lr"], t.replicate) for t in trials[:3]] == [(3e-4, 0), (3e-4, 1), (5e-4, 0)]
    assert len(trials) == plan.planned_trials == 8
    assert len({t.config.train.seed for t in trials}) == 8
    assert len({t.trial_id for t in trials}) == 8
    assert trials == grid_trials(plan)


def test_the_searchs_seed_changes_every_trials_seed() -> None:
    seeds = [
        {t.config.train.seed for t in grid_trials(experiment("--grid", "lr", "--seed", number))}
        for number in ("0", "1")
    ]
    assert not seeds[0] & seeds[1]


def test_ids_depend_on_the_corpus_and_not_on_the_process() -> None:
    plan = experiment("--grid", "lr")
    code = (
        "from minigpt_search.search.cli.parser import make_parser;"
        "from minigpt_search.search.cli.make_experiment import make_experiment;"
        "from minigpt_search.search.trials.trial import grid_trials;"
        "plan = make_experiment(make_parser().parse_args(['--grid', 'lr']), 'cpu');"
        "print(*[t.trial_id for t in grid_trials(plan)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ids = [t.trial_id for t in grid_trials(plan)]
    assert other.stdout.split() == ids
    elsewhere = plan.replace(content_hash="another")
    assert not set(ids) & {t.trial_id for t in grid_trials(elsewhere)}


def test_tunes_configurations_lead_back_to_the_same_trial() -> None:
    plan = experiment("--grid", "lr", "--seeds", "2")
    trial = grid_trials(plan)[3]
    cell = {"values": trial.values, "replicate": trial.replicate}
    assert trials_of(plan, {"pack": [cell]}) == [trial]
    replicates = [make_trial(plan, {"lr": 1e-3}, replicate) for replicate in (0, 1)]
    assert trials_of(plan, {"values": {"lr": 1e-3}}) == replicates


def test_all_impossible_cells_are_named_at_once() -> None:
    plan = experiment("--embed-dim", "130,128,66")
    with pytest.raises(UserError) as caught:
        check_trials(plan, length_in(None))
    assert "embed_dim=130" in str(caught.value)
    assert "embed_dim=66" in str(caught.value)
    assert "128" not in str(caught.value)


def test_a_batch_larger_than_the_epoch_and_a_warmup_longer_than_the_run_are_refused() -> None:
    plan = experiment("--grid", "lr")
    small = plan.replace(base=plan.space.base.replace(tokens_per_epoch=100))
    with pytest.raises(UserError, match="batch_size=4: an epoch has only 1 sequences"):
        check_trials(small, length_in(None))
    long = plan.replace(base=FULL.replace(tokens_per_epoch=64_000))
    with pytest.raises(UserError, match="warmup_steps=500: the whole run has 96 steps"):
        check_trials(long, length_in(None))


def test_a_samplers_impossible_corner_is_refused() -> None:
    words = ("--search", "tpe", "--trials", "2", "--grid", "seq_len", "--seq-len", "64,30016")
    plan = experiment(*words)
    with pytest.raises(UserError, match="batch_size=4: an epoch has only 3 sequences of 30016"):
        check_trials(plan, length_in(None))


def test_a_width_that_memory_cannot_hold_is_refused() -> None:
    plan = experiment("--embed-dim", "128,100000")
    with pytest.raises(UserError, match=r"embed_dim=100000: .* GB"):
        check_trials(plan, length_in(None))


def test_threads_and_trials_never_exceed_the_cores() -> None:
    plan = experiment("--grid", "lr")
    assert (
        plan.machine.max_concurrent * plan.machine.threads_per_trial
        <= plan.machine.hardware["cores"]
    )
    with pytest.raises(UserError, match="cores"):
        experiment("--grid", "lr", "--max-concurrent", "1000", "--cpus-per-trial", "2")


def test_an_experiment_comes_back_as_it_was_written(tmp_path: Path) -> None:
    plan = experiment("--grid", "lr,epochs")
    plan.write(tmp_path)
    assert read_experiment(tmp_path) == plan
    assert sorted(p.name for p in tmp_path.iterdir()) == ["experiment.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 99}', '{"schema_version"'])
def test_a_damaged_experiment_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(UserError, match=r"experiment\.json"):
        read_experiment(tmp_path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 101, "<script>"])
def test_names_that_are_no_folders_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="--name"):
        check_name(name)


def test_the_newest_experiment_is_found_and_a_missing_one_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no experiment"):
        find_experiment(tmp_path, None)
    for name in ("a", "b"):
        (tmp_path / "experiments" / name).mkdir(parents=True)
        experiment("--grid", "lr").write(tmp_path / "experiments" / name)
    assert find_experiment(tmp_path, "a").name == "a"
    assert find_experiment(tmp_path, None).name == "b"
    with pytest.raises(UserError, match="there are: a, b"):
        find_experiment(tmp_path, "c")


def test_an_experiment_has_one_driver_at_a_time(tmp_path: Path) -> None:
    with only_driver(tmp_path), pytest.raises(UserError, match="another process"):
        only_driver(tmp_path).__enter__()
    with only_driver(tmp_path):
        pass


def test_the_presets_are_the_same_model() -> None:
    assert RunConfig() == FULL
    assert QUICK.model == FULL.model
