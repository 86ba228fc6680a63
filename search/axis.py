"""One thing to vary: what it sets, its grid's values, and the range that a sampler searches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.errors import UserError
from model.config import RunConfig

Value = Any
"""An axis' value: a whole number, another number, a truth value or a word, as its field's type."""
LINEAR, LOG, CHOICES = "linear", "log", "choices"
KINDS = (LINEAR, LOG, CHOICES)
"""How a sampler's axis is read (`Experiment.kinds`): evenly between low and high, evenly in their
logarithms, or one of the values without any order."""
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing to vary."""

    name: str
    """As in `--grid` and the reports."""
    field: str
    """The field of `RunConfig` that it sets."""
    label: str
    """As in a table's head or a figure's axis."""
    unit: str = ""
    """Empty for a pure number."""
    integer: bool = False
    grid: tuple[Value, ...]
    """The values of the named grid."""
    low: float = 0.0
    """Least value that a sampler suggests."""
    high: float = 0.0
    """Greatest value that a sampler suggests."""
    log: bool = False
    """Whether a sampler draws it uniformly in the logarithm."""
    step: int = 1
    """Distance between the integers that a sampler suggests over the whole range."""
    choices: tuple[Value, ...] = ()
    """A categorical axis: all the values there are, in no order. It has no range."""
    sampled: tuple[Value, ...] = ()
    """What a sampler chooses from where it is not told otherwise; empty: the range."""
    has_flag: bool = False
    """Whether it has a flag of its own besides `--space`."""

    @property
    def flag(self) -> str:
        """The command-line flag that gives its values."""
        return "--" + self.name.replace("_", "-") if self.has_flag else f"--space {self.name}"

    def option(self, text: str) -> str:
        """The words of a command that give it these values: `--lr 1e-3`, `--space beta2=0.9`."""
        return f"{self.flag} {text}" if self.has_flag else f"{self.flag}={text}"

    @property
    def categorical(self) -> bool:
        """Whether its values have no order."""
        return bool(self.choices)

    def parse(self, text: str, option: str | None = None) -> tuple[Value, ...]:
        """Values from `1e-4,1e-3`. Raises `UserError` naming the flag (`option`, as it was given)
        and the value."""
        option = option or self.option(text)
        values: list[Value] = []
        for part in text.split(","):
            value = self._parse_one(part.strip(), option)
            if value in values:
                raise UserError(f"{option}: {part} is there twice; give it once")
            values.append(value)
        return tuple(values)

    def _parse_one(self, part: str, option: str) -> Value:
        if self.categorical:
            value = _TRUTH.get(part.lower(), part)
            if value not in self.choices:
                there_are = ", ".join(map(self.exact, self.choices))
                raise UserError(f"{option}: {part!r} is none of {there_are}")
            return value
        try:
            return int(part) if self.integer else float(part)
        except ValueError:
            kind = "whole numbers" if self.integer else "numbers"
            raise UserError(
                f"{option}: {part!r} is no number; give {kind} separated by commas"
            ) from None

    def between(self, share: float, low: float, high: float, log: bool | None = None) -> float:
        """The value at `share` (0 to 1) of the way from low to high, as a sampler spaces them;
        `log` if it is not the axis' own way."""
        if self.log if log is None else log:
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

    def show(self, value: Value) -> str:
        """A value as people read it; a sampler's rates have sixteen digits."""
        if isinstance(value, float) and not self.integer:
            return f"{value:.4g}"
        return self.exact(value)

    def exact(self, value: Value) -> str:
        """A value that `parse` reads back as it was."""
        if self.categorical:
            text = str(value)  # also of NumPy's truth values
            return text.lower() if text.lower() in _TRUTH else text
        return str(int(value)) if self.integer else repr(float(value))

    def value(self, config: RunConfig) -> Value:
        """This axis' value in a configuration."""
        section = config.model if hasattr(config.model, self.field) else config.train
        return getattr(section, self.field)

    def fields(self, value: Value) -> dict[str, Value]:
        """The fields of `RunConfig` that the value sets."""
        if self.field == "warmup_fraction":  # the two exclude each other
            return {"warmup_fraction": value, "warmup_steps": None}
        return {self.field: value}

    def most(self, values: Sequence[Value]) -> Value:
        """The one of `values` that makes the largest model; any, where that is the same for all."""
        return min(values) if self.field == "tie_head" else max(values)
