"""`--grid claims`: its cells, their plan, and that they survive being written and taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.space.claims_grid import CLAIMS, claims_cells, lengths_for
from minigpt_search.search.space.presets import FULL, QUICK
from minigpt_search.search.trials.trial import grid_trials


def experiment(*words: str) -> Experiment:
    args = make_parser().parse_args(("--grid", CLAIMS, "--device", "cpu", *words))
    check_options(args)
    plan = make_experiment(args, "cpu")
    return plan.replace(content_hash="abc", manifest={"name": "builtin"})


def test_epochs_are_the_recipe_s_and_their_ratios() -> None:
    seed, quick = lengths_for(3), lengths_for(1)
    assert (seed.baseline, seed.extended, seed.longer) == (3, 10, (15, 20))
    assert (quick.baseline, quick.extended, quick.longer) == (1, 3, (5, 7))


@pytest.mark.parametrize("base", [FULL, QUICK])
def test_one_axis_is_varied_at_a_time_and_no_cell_is_there_twice(base: Any) -> None:
    baseline, *others = claims_cells(base)
    apart = [{n for n in cell if cell[n] != baseline[n]} for cell in others]
    assert sorted(len(names) for names in apart) == [1] * 10 + [2] * 3
    # but the wide model's expected perplexity is about the final model, and contexts are compared
    # at equal tokens a step too
    two = [names for names in apart if len(names) > 1]
    assert two == [{"epochs", "embed_dim"}] + [{"seq_len", "batch_size"}] * 2
    for cell in others:
        if cell["batch_size"] != base.train.batch_size:
            assert cell["seq_len"] * cell["batch_size"] == 64 * base.train.batch_size
    assert all(cell not in others[:place] for place, cell in enumerate(others))
    assert {cell["lr"] for cell in others} == {3e-4, 5e-4, 1e-3, 2e-3}
    assert {cell["embed_dim"] for cell in others} == {64, 128, 256}
    assert {cell["seq_len"] for cell in others} == {64, 128, 256}


def test_the_plan_is_its_cells_not_their_product() -> None:
    plan = experiment("--preset", "quick", "--seeds", "2")
    assert plan.name.startswith("claims-quick-")
    assert plan.planned_trials == len(grid_trials(plan)) == 28
    assert plan.space.axes["epochs"] == (1, 3, 5, 7)
    assert plan.space.axes["batch_size"] == (1, 2, 4)
    ids = {trial.trial_id for trial in grid_trials(plan)}
    assert len(ids) == 28
    # shared with a grid of one axis, which --extend can therefore take over
    args = make_parser().parse_args(["--grid", "lr", "--preset", "quick"])
    lr = make_experiment(args, "cpu").replace(content_hash="abc")
    assert {trial.trial_id for trial in grid_trials(lr)} <= ids


def test_a_flag_with_one_value_fixes_its_axis() -> None:
    plan = experiment("--embed-dim", "16", "--seq-len", "32")
    assert set(plan.space.axes) == {"lr", "epochs"}
    assert plan.planned_trials == 7
    assert {t.config.model.embed_dim for t in grid_trials(plan)} == {16}
    context = experiment("--seq-len", "128")  # the batch stays as it is
    assert set(context.space.axes) == {"lr", "epochs", "embed_dim"}
    assert {t.config.train.batch_size for t in grid_trials(context)} == {4}
    longer = experiment("--epochs", "2")
    assert "epochs" not in longer.space.axes
    assert {t.config.train.epochs for t in grid_trials(longer)} == {2}


@pytest.mark.parametrize(
    "words",
    [
        ("--lr", "1e-3,2e-3"),
        ("--search", "tpe", "--trials", "3"),
        ("--lr", "1e-3", "--epochs", "1", "--embed-dim", "8", "--seq-len", "8"),
    ],
)
def test_what_contradicts_the_cells_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"--grid claims"):
        experiment(*words)


def test_cells_come_back_from_the_file_as_they_were(tmp_path: Path) -> None:
    plan = experiment("--seeds", "3")
    plan.write(tmp_path / "experiments" / plan.name)
    assert read_experiment(tmp_path / "experiments" / plan.name) == plan


@pytest.mark.parametrize("cell", [{"lr": 1e-3}, {"lr": 7e-3, "epochs": 1}])
def test_cells_that_are_not_of_the_grid_are_refused(tmp_path: Path, cell: dict[str, float]) -> None:
    plan = experiment("--embed-dim", "16", "--seq-len", "32")
    folder = tmp_path / "experiments" / plan.name
    plan.write(folder)
    raw = checked_json.unseal(json.loads((folder / "experiment.json").read_text()))
    sealed = checked_json.seal(raw | {"space": raw["space"] | {"cells": [cell]}})
    (folder / "experiment.json").write_text(json.dumps(sealed))
    with pytest.raises(UserError, match="cells"):
        read_experiment(folder)
