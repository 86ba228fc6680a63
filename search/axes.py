"""The axes that can be searched: what each sets, the assignment's grid, and the range to search.

`--grid lr,embed_dim` is the product of two axes' grids; `--lr 1e-4,1e-3` gives one its own values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.errors import UserError
from model.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing to vary."""

    name: str
    """As in `--grid` and the reports."""
    field: str
    """The field of `RunConfig` that it sets."""
    label: str
    """As in a table's head or a figure's axis."""
    unit: str
    """Empty for a pure number."""
    integer: bool
    grid: tuple[float, ...]
    """The values of the named grid."""
    low: float
    """Least value that a sampler suggests."""
    high: float
    """Greatest value that a sampler suggests."""
    log: bool
    """Whether a sampler draws it uniformly in the logarithm."""
    step: int = 1
    """Distance between the integers that a sampler suggests over the whole range."""

    @property
    def flag(self) -> str:
        """The command-line flag that gives its values."""
        return "--" + self.name.replace("_", "-")

    def parse(self, text: str) -> tuple[float, ...]:
        """Values from `1e-4,1e-3`. Raises `UserError` naming the flag and the value."""
        values: list[float] = []
        for part in text.split(","):
            try:
                value = int(part) if self.integer else float(part)
            except ValueError:
                kind = "whole numbers" if self.integer else "numbers"
                raise UserError(
                    f"{self.flag} {text}: {part!r} is no number; give {kind} separated by commas"
                ) from None
            if value in values:
                raise UserError(f"{self.flag} {text}: {part} is there twice; give it once")
            values.append(value)
        return tuple(values)

    def between(self, share: float, low: float, high: float) -> float:
        """The value at `share` (0 to 1) of the way from low to high, as a sampler spaces them."""
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        if not self.integer:
            return value
        step = self.step_between(low, high)
        return int(low) + round((value - low) / step) * step

    def step_between(self, low: float, high: float) -> int:
        """Distance between the integers that a sampler suggests from low to high: the step, or the
        largest part of it that reaches `high` exactly."""
        return math.gcd(self.step, int(high) - int(low)) or self.step

    def show(self, value: float) -> str:
        """A value as people read it; a sampler's rates have sixteen digits."""
        return str(value) if self.integer else f"{value:.4g}"

    def value(self, config: RunConfig) -> float:
        """This axis' value in a configuration."""
        section = config.model if hasattr(config.model, self.field) else config.train
        return getattr(section, self.field)


AXES = {
    axis.name: axis
    for axis in (
        # Grids: the assignment's report (its "Improvements" and its experiments). The search
        # ranges widen them by about a factor of three, so that the best is not at an edge.
        Axis(
            name="lr",
            field="lr_peak",
            label="learning rate",
            unit="",
            integer=False,
            grid=(3e-4, 5e-4, 1e-3, 2e-3),
            low=1e-4,
            high=1e-2,
            log=True,
        ),
        Axis(
            name="epochs",
            field="epochs",
            label="epochs",
            unit="",
            integer=True,
            grid=(3, 10, 15, 20),
            low=1,
            high=20,
            log=True,
        ),
        Axis(
            name="embed_dim",
            field="embed_dim",
            label="embedding dimension",
            unit="",
            integer=True,
            grid=(64, 128, 256),
            low=32,
            high=256,
            log=False,
            step=32,
        ),
        Axis(
            name="seq_len",
            field="seq_len",
            label="context length",
            unit="tokens",
            integer=True,
            grid=(64, 128, 256),
            low=32,
            high=256,
            log=False,
            step=32,
        ),
    )
}


def axis_named(name: str) -> Axis:
    """The axis called `name`. Raises `UserError` with the names there are."""
    if name not in AXES:
        raise UserError(f"--grid {name!r}: no such axis; there are {', '.join(AXES)}")
    return AXES[name]


def grid_cells(values: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """The product of the axes' values, the first axis slowest: one dict of axis values a cell."""
    names = list(values)
    return [dict(zip(names, cell, strict=True)) for cell in itertools.product(*values.values())]


def apply_axes(base: RunConfig, cell: Mapping[str, float]) -> RunConfig:
    """`base` with the cell's values. Raises `UserError` if they make no valid configuration."""
    return base.replace(**{AXES[name].field: value for name, value in cell.items()})


def cell_label(config: RunConfig, names: Sequence[str]) -> str:
    """`lr=0.001 embed_dim=128`: how a trial is called on the screen and in tables."""
    shown = (f"{name}={AXES[name].show(AXES[name].value(config))}" for name in names)
    return " ".join(shown) or "base"
