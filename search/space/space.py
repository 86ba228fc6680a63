"""What a sampler may suggest: a range or choices for each axis, and what goes together.

The width must be a multiple of the number of heads. Where the width is a range, its step is a
multiple of every number of heads that may be drawn with it, so that no pair is impossible. Other
impossible pairs (both from lists) are drawn again, as what is above `--max-cost` is.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.search.space.axes import AXES, CHOICES, KINDS, LINEAR, LOG, Value, apply_axes


@dataclass(frozen=True, kw_only=True)
class Space:
    """What varies around a base configuration: a grid's values, or a sampler's ranges and
    choices."""

    base: RunConfig
    """The configuration that the axes vary."""
    axes: dict[str, tuple[Value, ...]]
    """A grid: the values of each axis. A sampler: the axes' names with their (low, high), or with
    the values to choose from (`kinds`)."""
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    """How a sampler reads an axis: linear, log or choices; a missing one has the axis' own way."""
    cells: tuple[dict[str, Value], ...] | None = None
    """The cells of a grid, where they are not the whole product of its axes
    (`search/trials/feasible.py`, `search/space/claims_grid.py`)."""
    named_grid: str | None = None
    """claims (`search/space/claims_grid.py`) or ladder (`search/space/ladder_spec.py`), whose cells
    are no product."""

    @property
    def grid_size(self) -> int:
        """How many cells a grid has."""
        return math.prod(map(len, self.axes.values())) if self.cells is None else len(self.cells)

    def kind(self, name: str) -> str:
        """How the axis is read: one of KINDS."""
        own = CHOICES if AXES[name].categorical else LOG if AXES[name].log else LINEAR
        return self.kinds.get(name, own)

    def step(self, name: str) -> int:
        """Distance between the integers of an axis' range."""
        axis, (low, high) = AXES[name], self.axes[name]
        if name != "embed_dim":
            return axis.step_between(low, high)
        unit = self.width_unit()
        most = axis.step // unit if axis.step % unit == 0 else 1
        return unit * (math.gcd(most, int(high - low) // unit) or most)

    def width_unit(self) -> int:
        """What every width of a range is a multiple of."""
        return math.lcm(*self._heads())

    def _heads(self) -> Sequence[int]:
        heads = self.axes.get("n_heads", (self.base.model.n_heads,))
        if "n_heads" in self.axes and self.kind("n_heads") != CHOICES:
            return range(int(heads[0]), int(heads[1]) + 1)
        return heads

    def value(self, name: str, share: float) -> Value:
        """The axis' value at `share` (0 to 1) of the way through its range or choices."""
        values, kind = self.axes[name], self.kind(name)
        if kind == CHOICES:
            return values[min(int(share * len(values)), len(values) - 1)]
        if AXES[name].integer and kind == LINEAR:
            step = self.step(name)
            return int(values[0]) + round(share * (values[1] - values[0]) / step) * step
        low, high = values
        return AXES[name].between(share, low, high, log=kind == LOG)

    def values(self, shares: Sequence[float]) -> dict[str, Value]:
        """A value of each axis, at these shares."""
        return {name: self.value(name, s) for name, s in zip(self.axes, shares, strict=True)}

    def contains(self, name: str, value: Value) -> bool:
        """Whether a sampler may suggest this value of the axis."""
        values = self.axes[name]
        if self.kind(name) == CHOICES:
            return value in values
        if not values[0] <= value <= values[1]:
            return False
        stepped = AXES[name].integer and self.kind(name) == LINEAR
        return not stepped or (value - values[0]) % self.step(name) == 0

    def size(self) -> float:
        """Number of configurations; infinite where an axis is a range of real numbers."""
        return math.prod(map(self._size_of, self.axes))

    def _size_of(self, name: str) -> float:
        values, kind = self.axes[name], self.kind(name)
        if kind == CHOICES:
            return len(values)
        if not AXES[name].integer:
            return math.inf
        return int(values[1] - values[0]) // (1 if kind == LOG else self.step(name)) + 1

    def every(self) -> Iterator[dict[str, Value]]:
        """All configurations of a space of finite size, the impossible ones too."""
        lists = [list(self._all_of(name)) for name in self.axes]
        for cell in itertools.product(*lists):
            yield dict(zip(self.axes, cell, strict=True))

    def _all_of(self, name: str) -> Sequence[Value]:
        values, kind = self.axes[name], self.kind(name)
        if kind == CHOICES:
            return values
        return range(int(values[0]), int(values[1]) + 1, 1 if kind == LOG else self.step(name))

    def config(self, values: Mapping[str, Value]) -> RunConfig | None:
        """The configuration of these values; None if they don't go together."""
        try:
            return apply_axes(self.base, values)
        except UserError:
            return None

    def check(self, *, sampled: bool) -> None:
        """Raise `ValueError` (of which `UserError` is one) for axes, kinds, ranges, values and
        cells that can't be. `sampled`: these are a sampler's ranges and choices, not a grid's
        values."""
        for name, values in self.axes.items():
            if name not in AXES or not values:
                raise ValueError(f"axis {name!r} with the values {values}")
        for name, kind in self.kinds.items():
            if name not in self.axes or kind not in KINDS or not sampled:
                raise ValueError(f"axis {name!r} of the kind {kind!r}")
        for name, values in self.axes.items():
            ranged = sampled and self.kind(name) != CHOICES
            if ranged and (len(values) != 2 or not values[0] < values[1]):
                raise ValueError(f"axis {name!r} with the values {values}")
            for value in values:
                self._check_value(name, value)
            if ranged:
                self._check_range(name)
        for cell in self.cells or ():
            if set(cell) != set(self.axes) or sampled:
                raise ValueError(f"cells: {cell} has not the axes of this grid")
            if any(value not in self.axes[name] for name, value in cell.items()):
                raise ValueError(f"cells: {cell} has a value that its axis has not")
            apply_axes(self.base, cell)

    def _check_range(self, name: str) -> None:
        values, kind = self.axes[name], self.kind(name)
        if kind == LOG and not values[0] > 0:
            raise UserError(f"{AXES[name].flag}: a logarithmic range begins above 0")
        if name != "embed_dim":
            return
        unit = self.width_unit()
        if kind == LOG and unit > 1:
            raise UserError(
                f"{AXES[name].flag}: the width must be a multiple of {unit} for the heads, so a "
                "range of it is linear; for a logarithmic one give choices, such as "
                "--space embed_dim=64,128,256"
            )
        if "n_heads" in self.axes and any(value % unit for value in values):
            raise UserError(
                f"{AXES[name].flag} from {values[0]} to {values[1]}: begin and end at a multiple "
                f"of {unit}, which all of the n_heads that may be drawn divide"
            )

    def _check_value(self, name: str, value: Value) -> None:
        """Whatever it is combined with, it must be possible with something."""
        fields = AXES[name].fields(value)
        if name == "embed_dim" and "n_heads" in self.axes:
            fields |= {"n_heads": 1}
        if name == "n_heads" and "embed_dim" in self.axes and type(value) is int and value > 0:
            fields |= {"embed_dim": value}
        self.base.replace(**fields)
