"""The command line becomes axes and a base configuration, or one line that says what is wrong."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.cli.space_flags import read_space
from minigpt_search.search.space.axes import AXES, OFFERED, Value, configuration_label, grid_cells

FIXED = ("--lr", "1e-3", "--epochs", "1", "--embed-dim", "8")
ASSIGNMENT_RATES = (3e-4, 5e-4, 1e-3, 2e-3)


def parse(*words: str) -> argparse.Namespace:
    args = make_parser().parse_args(words)
    check_options(args)
    return args


def axes_of(*words: str) -> tuple[dict[str, tuple[Value, ...]], RunConfig]:
    space = read_space(parse(*words), RunConfig())
    return dict(space.axes), space.base


def test_the_named_grids_are_the_recipe_s() -> None:
    assert AXES["lr"].grid == ASSIGNMENT_RATES
    assert AXES["epochs"].grid == (3, 10, 15, 20)
    assert AXES["embed_dim"].grid == (64, 128, 256)
    assert AXES["seq_len"].grid == (64, 128, 256)


def test_a_named_grid_leaves_the_base_as_it_is() -> None:
    assert axes_of("--grid", "lr") == ({"lr": ASSIGNMENT_RATES}, RunConfig())


def test_several_axes_are_a_product_with_the_first_axis_slowest() -> None:
    axes, _ = axes_of("--grid", "lr,embed_dim", "--lr", "1e-3,2e-3")
    cells = grid_cells(axes)
    assert len(cells) == 6
    assert cells[:3] == [{"lr": 1e-3, "embed_dim": width} for width in (64, 128, 256)]


def test_several_values_make_an_axis_and_one_fixes_the_base() -> None:
    axes, base = axes_of("--lr", "1e-3,2e-3", "--epochs", "5")
    assert axes == {"lr": (1e-3, 2e-3)}
    assert base.train.epochs == 5


def test_a_sampler_takes_ranges_and_leaves_out_what_is_fixed() -> None:
    axes, base = axes_of(
        "--search", "tpe", "--trials", "3", "--lr", "1e-4,1e-2", "--embed-dim", "64"
    )
    assert axes == {"lr": (1e-4, 1e-2), "epochs": (1, 20)}
    assert base.model.embed_dim == 64


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--grid lr"),
        (["--grid", "rate"], "rate"),
        (["--grid", "lr,lr"], "twice"),
        (["--grid", "lr", "--lr", "1e-3,fast"], "'fast'"),
        (["--grid", "lr", "--lr", "1e-3,1e-3"], "twice"),
        (["--grid", "epochs", "--epochs", "2.5"], "whole numbers"),
        (["--lr", "10"], "lr=10"),
        (["--lr", "nan"], "lr=nan"),
        (["--epochs", "0"], "epochs=0"),
        (["--embed-dim", "130"], "multiple of 4"),
        (["--grid", "lr", "--seeds", "0"], "--seeds 0"),
        (["--grid", "lr", "--max-concurrent", "0"], "--max-concurrent 0"),
        (["--grid", "lr", "--trials", "5"], "--search"),
        (["--search", "tpe"], "--trials"),
        (["--search", "tpe", "--trials", "3", "--lr", "1e-2,1e-4"], "lower first"),
        (["--search", "tpe", "--trials", "3", "--lr", "0,1"], "lr=0"),
        (["--search", "tpe", "--trials", "3", "--epochs", "0,5"], "epochs=0"),
        (["--search", "tpe", "--trials", "3", "--embed-dim", "6,16"], "embed_dim=6"),
        (["--search", "tpe", "--trials", "2", *FIXED], "leave one open"),
        (["--search", "tpe", "--trials", "9", "--grid", "embed_dim"], "only 8 configurations"),
        (["--grid", "lr", "--lr", ""], "--lr"),
        (["--grid", ","], "no such axis"),
        (["--resume", "x", "--grid", "lr"], "leave out --grid"),
        (["--resume", "x", "--dry-run"], "leave out --dry-run"),
        (["--resume", "x", "--seeds", "5"], "leave out --seeds"),
        (["--resume", "x", "--pack", "2"], "leave out --pack"),
    ],
)
def test_a_mistake_is_named(words: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        axes_of(*words)


@given(st.text(max_size=20), st.sampled_from(sorted(AXES)))
def test_no_text_for_an_axis_is_more_than_a_mistake(text: str, name: str) -> None:
    try:
        values = AXES[name].parse(text)
    except UserError as error:
        assert AXES[name].flag in str(error)
    else:
        kind = bool if AXES[name].categorical else int if AXES[name].integer else float
        assert all(isinstance(value, kind) for value in values)


@given(st.floats(0, 1), st.sampled_from(sorted(n for n in OFFERED if not AXES[n].categorical)))
def test_values_between_the_bounds_stay_there(share: float, name: str) -> None:
    axis = AXES[name]
    value = axis.between(share, axis.low, axis.high)
    assert axis.low * (1 - 1e-12) <= value <= axis.high * (1 + 1e-12)
    assert axis.between(0, axis.low, axis.high) == pytest.approx(axis.low)
    assert axis.between(1, axis.low, axis.high) == pytest.approx(axis.high)


def test_a_samplers_range_reaches_both_its_ends() -> None:
    axis = AXES["embed_dim"]
    assert axis.step_between(32, 256) == 32
    assert axis.step_between(8, 16) == 8
    assert axis.step_between(64, 100) == 4


def test_a_label_names_the_axes_values() -> None:
    config = RunConfig().replace(lr_peak=0.00123456789, embed_dim=16384)
    assert configuration_label(config, ["lr", "embed_dim"]) == "lr=0.001235 embed_dim=16384"
