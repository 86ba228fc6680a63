"""The axes that can be searched: what each sets, its default grid, and the range to search.

`--grid lr,embed_dim` is the product of two axes' grids; `--lr 1e-4,1e-3` and `--space
weight_decay=0.1,0.3` give one its own values (`search/space/space.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import SCHEDULES, RunConfig

Value = Any
"""An axis' value: a whole number, another number, a truth value or a word, as its field's type."""
LINEAR, LOG, CHOICES = "linear", "log", "choices"
KINDS = (LINEAR, LOG, CHOICES)
"""How a sampler's axis is read (`Experiment.kinds`): evenly between low and high, evenly in their
logarithms, or one of the values without any order."""
TOKENS = "tokens_per_epoch"
"""The axis of a ladder's rungs."""
WARMUPS = ("warmup_fraction", "warmup_steps")
"""Axes that exclude each other."""
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
    """Whether it has a flag of its own, not only `--space`."""
    of_ladder: bool = False
    """Whether `--ladder` alone varies it."""

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
        without = dict.fromkeys(WARMUPS) if self.field in WARMUPS else {}
        return {**without, self.field: value}

    def most(self, values: Sequence[Value]) -> Value:
        """The one of `values` that makes the largest model; any, where that is the same for all."""
        return min(values) if self.field == "tie_head" else max(values)


AXES = {
    axis.name: axis
    for axis in (
        # Grids: the recipe's report (its "Improvements" and its experiments). The search
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
            # 500 is the recipe's. For rungs of a ladder that share trunks it must be the same.
            name="warmup_steps",
            field="warmup_steps",
            label="warm-up",
            unit="steps",
            integer=True,
            grid=(100, 250, 500, 1000),
            low=10,
            high=1000,
            log=True,
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
        Axis(
            name=TOKENS,
            field="tokens_per_epoch",
            label="tokens an epoch",
            unit="tokens",
            integer=True,
            grid=(),
            log=True,
            of_ladder=True,
        ),
    )
}
OFFERED = {name: axis for name, axis in AXES.items() if not axis.of_ladder}
"""The axes that `--grid` and `--space` vary."""


def axis_named(name: str) -> Axis:
    """The axis called `name`. Raises `UserError` with the names there are."""
    return find_axis(name, f"--grid {name!r}")


def find_axis(name: str, option: str) -> Axis:
    """The axis called `name`. Raises `UserError`, which begins with the flag it was given by."""
    if name == TOKENS:
        raise UserError(
            f"{option}: runs of several lengths are what --ladder trains; one length is "
            "--tokens-per-epoch N"
        )
    if name not in OFFERED:
        raise UserError(f"{option}: no such axis; there are {', '.join(OFFERED)}")
    return OFFERED[name]


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


def configuration_label(config: RunConfig, names: Sequence[str]) -> str:
    """`lr=0.001 embed_dim=128`: how a trial is called on the screen and in tables."""
    shown = (f"{name}={AXES[name].show(AXES[name].value(config))}" for name in names)
    return " ".join(shown) or "base"
