"""Flags become a space; impossible cells are left out, and impossible spaces refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import parameter_count
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.make_experiment import make_experiment, on_corpus
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.cli.space_flags import read_space
from minigpt_search.search.planning.calibration import Speed, Speeds
from minigpt_search.search.planning.checks import check_trials
from minigpt_search.search.planning.disk import largest_config
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.planning.plan_text import plan_lines
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.space.axes import AXES, OFFERED, apply_axes
from minigpt_search.search.space.objective import counted_cost
from minigpt_search.search.space.space import Space
from minigpt_search.search.trials.feasible import allowed, corners, drawn, left_out_lines, limited
from minigpt_search.search.trials.length import length_in
from minigpt_search.search.trials.trial import grid_trials

TPE = ("--search", "tpe", "--trials", "3")

SPEED = Speed(training=2000.0, scoring=6000.0, memory_mb=700.0)


def space_of(*words: str) -> Space:
    args = make_parser().parse_args(words)
    check_options(args)
    return read_space(args, RunConfig())


def experiment(*words: str) -> Experiment:
    args = make_parser().parse_args([*words, "--preset", "quick"])
    check_options(args)
    return limited(make_experiment(args, "cpu"))


def test_a_range_choices_and_a_fixed_value() -> None:
    space = space_of(
        *TPE,
        *("--space", "weight_decay=0.01:1"),
        *("--space", "dropout=0.0:0.3"),
        *("--space", "beta2=0.9:0.99:log"),
        *("--space", "embed_dim=16,32,64"),
        *("--space", "epochs=2"),
    )
    assert space.axes == {
        "lr": (1e-4, 1e-2),
        "embed_dim": (16, 32, 64),
        "weight_decay": (0.01, 1.0),
        "dropout": (0.0, 0.3),
        "beta2": (0.9, 0.99),
    }
    assert space.kinds == {"embed_dim": "choices", "beta2": "log"}
    assert [space.kind(name) for name in ("weight_decay", "dropout")] == ["log", "linear"]
    assert space.base.train.epochs == 2


def test_a_grids_values_and_its_default_ones() -> None:
    space = space_of("--grid", "weight_decay,tie_head", "--space", "dropout=0,0.1")
    assert space.axes == {
        "weight_decay": AXES["weight_decay"].grid,
        "tie_head": (True, False),
        "dropout": (0.0, 0.1),
    }
    assert space.kinds == {}


def test_a_single_value_alone_is_one_configuration() -> None:
    space = space_of("--space", "weight_decay=0.3", "--space", "tie_head=false")
    assert space.axes == {} and not space.base.model.tie_head
    assert space.base.train.weight_decay == 0.3


def test_grid_names_a_samplers_axes_in_its_own_ranges() -> None:
    space = space_of("--grid", "tie_head,n_heads,batch_size", *TPE)
    assert space.axes == {
        "tie_head": (True, False),
        "n_heads": (1, 2, 4, 8),
        "batch_size": (4, 64),
    }
    assert space.kinds == {"tie_head": "choices", "n_heads": "choices"}


@pytest.mark.parametrize("name", sorted(OFFERED))
def test_every_axis_has_a_grid_and_a_range_that_make_configurations(name: str) -> None:
    grid, sampled = space_of("--grid", name), space_of("--grid", name, *TPE[:3], "2")
    assert len(grid.axes[name]) >= 2
    for value in (*grid.axes[name], *(sampled.value(name, i / 10) for i in range(11))):
        config = apply_axes(RunConfig(), {name: value})
        assert AXES[name].value(config) == value
        assert AXES[name].parse(AXES[name].exact(value)) == (value,)
        assert apply_axes(config, {name: AXES[name].value(config)}) == config


def test_a_warm_up_share_takes_the_place_of_steps() -> None:
    config = apply_axes(RunConfig(), {"warmup_fraction": 0.05})
    assert (config.train.warmup_steps, config.train.warmup_fraction) == (None, 0.05)


@pytest.mark.parametrize("heads", ["1,2,4,8", "3,4", "5", "3:5", "6"])
def test_the_widths_of_a_range_are_multiples_of_all_heads(heads: str) -> None:
    words = ["--grid", "embed_dim,n_heads", *TPE, "--space", f"n_heads={heads}"]
    if heads in ("5", "6"):
        words[1] = "embed_dim"
    space = space_of(*words)
    assert space.size() < 1000 and space.axes["embed_dim"][0] < space.axes["embed_dim"][1]
    for values in space.every():
        assert space.config(values) is not None
        assert space.contains("embed_dim", values["embed_dim"])


def test_impossible_cells_of_a_grid_are_left_out_and_counted() -> None:
    words = ("--grid", "embed_dim,n_heads,lr", "--embed-dim", "16,24", "--lr", "1e-3,2e-3")
    plan = experiment(*words, "--space", "n_heads=3,4,16", "--seeds", "2")
    possible = [(16, 4), (16, 16), (24, 3), (24, 4)]
    cells = [t.values for t in grid_trials(plan) if t.replicate == 0]
    assert [(c["embed_dim"], c["n_heads"]) for c in cells[::2]] == possible
    assert plan.planned_trials == len(grid_trials(plan)) == 2 * 2 * len(possible)
    assert left_out_lines(plan) == [
        "Left out   4 of 12 cells: 4 whose heads don't divide the width"
    ]


def test_a_whole_grid_has_no_cells_of_its_own() -> None:
    plan = experiment("--grid", "embed_dim,n_heads")
    assert plan.space.cells is None and left_out_lines(plan) == []
    assert len(grid_trials(plan)) == 12


def test_cells_above_a_counted_cost_are_left_out() -> None:
    plan = experiment("--grid", "embed_dim,epochs", "--max-cost", "8e12flop")
    costs = {
        (width, epochs): counted_cost(config, "flop", {})
        for width, epochs in itertools.product((64, 128, 256), (3, 10, 15, 20))
        for config in [plan.space.base.replace(embed_dim=width, epochs=epochs)]
    }
    within = {cell for cell, cost in costs.items() if cost <= 8e12}
    assert 0 < len(within) < 12
    found = {(t.values["embed_dim"], t.values["epochs"]) for t in grid_trials(plan)}
    assert found == within
    [line] = left_out_lines(plan)
    dear = 12 - len(within)
    assert line == f"Left out   {dear} of 12 cells: {dear} that cost more than 8e12flop"


def test_a_measured_cost_leaves_every_cell_in() -> None:
    assert experiment("--grid", "lr", "--max-cost", "1s").space.cells is None


def test_a_sampler_draws_within_its_limit_and_both_its_ends_are_checked() -> None:
    plan = experiment(*TPE, "--max-cost", "1e13flop", "--space", "tie_head=true,false")
    allow, draws = allowed(plan), drawn(plan, 100)
    assert len(draws) == 100 and all(map(allow, draws))
    costs = [apply_axes(plan.space.base, v) for v in draws]
    assert max(counted_cost(c, "flop", {}) for c in costs) <= 1e13
    assert any(v["tie_head"] for v in draws) and not all(v["tie_head"] for v in draws)
    [least] = corners(plan)  # the greatest is above the limit
    assert least["embed_dim"] == 32 and least["tie_head"]
    assert len(corners(experiment(*TPE))) == 2


def test_the_largest_model_has_at_least_everyones_parameters() -> None:
    words = ("--grid", "embed_dim,n_heads,n_layers,tie_head", "--space", "n_heads=3,5")
    plan = experiment(*words, "--embed-dim", "15,18,20", "--space", "n_layers=1,2")
    most = max(parameter_count(t.config.model) for t in grid_trials(plan))
    assert parameter_count(largest_config(plan).model) >= most


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--grid", "epochs", "--max-cost", "1flop"), "the cheapest"),
        ((*TPE, "--max-cost", "1param"), "the cheapest"),
    ],
)
def test_where_all_cost_too_much_the_cheapest_is_named(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        experiment(*words)


def test_the_plan_says_what_is_searched_and_what_is_left_out(search_root: Path) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    words = ("--grid", "embed_dim,n_heads,tie_head", "--embed-dim", "8", "--space", "n_heads=3,4")
    plan = on_corpus(experiment(*words), corpus)
    trials = check_trials(plan, length_in(corpus))
    estimator = Estimator(
        plan,
        Speeds({plan.space.base: SPEED}),
        10_000,
        length_in(corpus),
    )
    text = "\n".join(plan_lines(plan, trials, corpus, estimator, 60.0))
    assert "tie_head = true, false: 2 trials" in text
    assert "Left out   2 of 4 cells" in text


def test_an_experiment_is_read_back_as_it_was(tmp_path: Path, search_root: Path) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    heads = ("--space", "n_heads=3,4", "--max-cost", "30s")
    for number, words in enumerate(
        (
            ("--grid", "tie_head,n_heads,embed_dim", "--embed-dim", "8,12", *heads),
            (*TPE, "--space", "tie_head=true,false", "--objective", "val_loss,cost"),
            (*TPE, "--space", "lr=1e-4:1e-2:linear", "--max-cost", "20Tflop"),
        )
    ):
        plan = on_corpus(experiment(*words), corpus)
        plan.write(tmp_path / f"{number}")
        assert read_experiment(tmp_path / f"{number}") == plan


def test_extending_replaces_the_same_axis_space(search_root: Path) -> None:
    plan = experiment("--grid", "lr", "--space", "dropout=0,0.1", "--space", "beta1=0.8")
    command = ("search/run.py", "--grid", "lr", "--space", "dropout=0,0.1", "--space", "beta1=0.8")
    folder = search_root / "experiments" / "spaced"
    corpus = open_corpus(search_root / "corpus" / "small")
    written = dataclasses.replace(on_corpus(plan, corpus), command=command, name="spaced")
    written.write(folder)
    args = extended_arguments(
        make_parser(), search_root, "spaced", ["--extend", "spaced", "--space", "dropout=0,0.2"]
    )
    assert args.space == ["beta1=0.8", "dropout=0,0.2"] and args.grid == "lr"
