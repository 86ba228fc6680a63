"""The axes that can be searched: what each sets, its default grid, and the range to search.

`--grid lr,embed_dim` is the product of two axes' grids; `--lr 1e-4,1e-3` and `--space
weight_decay=0.1,0.3` give one its own values (`search/space.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from data.errors import UserError
from model.config import SCHEDULES, RunConfig
from search.axis import Axis, Value

AXES = {
    axis.name: axis
    for axis in (
        # Grids: the assignment's report (its "Improvements" and its experiments). The search
        # ranges widen them by about a factor of three, so that the best is not at an edge.
        Axis(
            name="lr",
            has_flag=True,
            field="lr_peak",
            label="learning rate",
            grid=(3e-4, 5e-4, 1e-3, 2e-3),
            low=1e-4,
            high=1e-2,
            log=True,
        ),
        Axis(
            name="epochs",
            has_flag=True,
            field="epochs",
            label="epochs",
            integer=True,
            grid=(3, 10, 15, 20),
            low=1,
            high=20,
            log=True,
        ),
        Axis(
            name="embed_dim",
            has_flag=True,
            field="embed_dim",
            label="embedding dimension",
            integer=True,
            grid=(64, 128, 256),
            low=32,
            high=256,
            step=32,
        ),
        Axis(
            name="seq_len",
            has_flag=True,
            field="seq_len",
            label="context length",
            unit="tokens",
            integer=True,
            grid=(64, 128, 256),
            low=32,
            high=256,
            step=32,
        ),
        # The rest is the recipe's; the default of each is in its grid.
        Axis(
            # 0.1 is GPT-3's (arXiv 2005.14165). Where data is repeated for many epochs, 30 times as
            # much was best (Kim et al. 2025, arXiv 2509.14786).
            name="weight_decay",
            field="weight_decay",
            label="weight decay",
            grid=(0.03, 0.1, 0.3, 1.0, 3.0),
            low=0.01,
            high=3.0,
            log=True,
        ),
        Axis(
            # 0.1 is GPT-2's. Training of a single epoch is better without (Liu et al. 2025, arXiv
            # 2505.24788); repeated data asks for some (Srivastava et al. 2014: up to 0.5).
            name="dropout",
            field="dropout",
            label="dropout",
            grid=(0.0, 0.1, 0.2, 0.3),
            low=0.0,
            high=0.4,
        ),
        Axis(
            # What is enough depends on the peak rate (Kalra and Barkeshli 2024, arXiv 2406.09405);
            # above a fifth the run is short of time at a useful rate.
            name="warmup_fraction",
            field="warmup_fraction",
            label="warm-up's share of the run",
            grid=(0.02, 0.05, 0.1, 0.2),
            low=0.0,
            high=0.2,
        ),
        Axis(
            # Small batches use tokens better, until steps cost more time than tokens (McCandlish et
            # al. 2018, arXiv 1812.06162; Marek et al. 2025, arXiv 2507.07101).
            name="batch_size",
            field="batch_size",
            label="batch size",
            unit="sequences",
            integer=True,
            grid=(4, 8, 16, 32),
            low=4,
            high=64,
            log=True,
        ),
        Axis(
            # 0.9 since Kingma and Ba 2014 (arXiv 1412.6980).
            name="beta1",
            field="beta1",
            label="β₁ of AdamW",
            grid=(0.8, 0.9, 0.95),
            low=0.8,
            high=0.98,
        ),
        Axis(
            # 0.999 is Adam's, 0.95 GPT-3's. Its half-life in tokens is what should stay: smaller
            # batches want a larger one (arXiv 2507.07101).
            name="beta2",
            field="beta2",
            label="β₂ of AdamW",
            grid=(0.9, 0.95, 0.99, 0.999),
            low=0.9,
            high=0.999,
        ),
        Axis(
            # At one number of parameters depth matters little within wide limits (Kaplan et al.
            # 2020, arXiv 2001.08361, section 3.1); narrow models can't use much of it (Levine et
            # al. 2020, arXiv 2006.12467).
            name="n_layers",
            field="n_layers",
            label="blocks",
            integer=True,
            grid=(1, 2, 4, 6),
            low=1,
            high=8,
        ),
        Axis(
            # Few are often enough (Michel et al. 2019, arXiv 1905.10650). Powers of two, because
            # the width must be a multiple of every number that may be drawn with it.
            name="n_heads",
            field="n_heads",
            label="attention heads",
            integer=True,
            grid=(1, 2, 4, 8),
            low=1,
            high=8,
            sampled=(1, 2, 4, 8),
        ),
        Axis(
            # Press and Wolf 2017 (arXiv 1608.05859): tied is better for small models.
            name="tie_head",
            field="tie_head",
            label="tied head",
            grid=(True, False),
            choices=(True, False),
        ),
        Axis(
            # Linear to zero is better than to a tenth (Bergsma et al. 2025, arXiv 2502.15938); wsd
            # matches the cosine (Hägele et al. 2024, arXiv 2405.18392).
            name="schedule",
            field="schedule",
            label="schedule",
            grid=SCHEDULES,
            choices=SCHEDULES,
        ),
    )
}


def axis_named(name: str) -> Axis:
    """The axis called `name`. Raises `UserError` with the names there are."""
    return find_axis(name, f"--grid {name!r}")


def find_axis(name: str, option: str) -> Axis:
    """The axis called `name`. Raises `UserError`, which begins with the flag it was given by."""
    if name not in AXES:
        raise UserError(f"{option}: no such axis; there are {', '.join(AXES)}")
    return AXES[name]


def grid_cells(values: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """The product of the axes' values, the first axis slowest: one dict of axis values a cell."""
    names = list(values)
    return [dict(zip(names, cell, strict=True)) for cell in itertools.product(*values.values())]


def apply_axes(base: RunConfig, cell: Mapping[str, Value]) -> RunConfig:
    """`base` with the cell's values. Raises `UserError` if they make no valid configuration."""
    fields: dict[str, Value] = {}
    for name, value in cell.items():
        fields |= AXES[name].fields(value)
    return base.replace(**fields)


def cell_label(config: RunConfig, names: Sequence[str]) -> str:
    """`lr=0.001 embed_dim=128`: how a trial is called on the screen and in tables."""
    shown = (f"{name}={AXES[name].show(AXES[name].value(config))}" for name in names)
    return " ".join(shown) or "base"
