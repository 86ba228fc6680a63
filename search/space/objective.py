"""What a search minimises and what it may cost: loss alone, under a limit, or against cost.

More epochs and more width nearly always lower the loss, so a search on loss alone answers "the
largest". Cost is counted from a configuration (floating-point operations of the whole run,
parameters) or measured by its record (seconds of training). No torch, no Ray: reports read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.model.run_length import RunLength, sequences_in

LOSS = "val_loss"
FLOP, SECONDS, PARAMETERS = "flop", "seconds", "params"
COSTS = (FLOP, SECONDS, PARAMETERS)
BUILTIN_TOKENS = 10_000_000
"""Training tokens of the built-in corpus, for a plan made before it is prepared."""
_UNITS = {"flop": FLOP, "s": SECONDS, "param": PARAMETERS}
_PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_MAX_COST = re.compile(_NUMBER + r"\s*([KMGTPE]?)(flop|s|param)s?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class MaxCost:
    """The most that a configuration may cost."""

    text: str
    """As it was given."""
    unit: str
    """One of COSTS."""
    most: float

    def allows(self, config: RunConfig, corpus: Mapping[str, Any]) -> bool:
        """Whether its counted cost is within the limit; seconds are known only when measured."""
        return self.unit == SECONDS or counted_cost(config, self.unit, corpus) <= self.most


def parse_max_cost(text: str | None) -> MaxCost | None:
    """`5e14flop`, `30s` or `8Mparam`. Raises `UserError` for anything else."""
    if text is None:
        return None
    match = _MAX_COST.fullmatch(text.strip())
    most = float(match[1]) * _PREFIXES[match[2].upper()] if match else 0.0
    if match is None or not 0 < most < float("inf"):
        raise UserError(
            f"--max-cost {text}: give a number above 0 with its unit, such as 5e14flop, 30s or "
            "8Mparam"
        )
    return MaxCost(text=text.strip(), unit=_UNITS[match[3].lower()], most=most)


def parse_objectives(text: str | None) -> tuple[str, ...]:
    """`val_loss`, or `val_loss,COST` for a Pareto front; `cost` is flop. Raises `UserError`."""
    names = [name.strip() for name in (LOSS if text is None else text).split(",")]
    names = [FLOP if name == "cost" else name for name in names]
    if names[0] != LOSS or len(names) > 2 or (len(names) == 2 and names[1] not in COSTS):
        raise UserError(
            f"--objective {text}: give val_loss, or val_loss with one cost: val_loss,flop (or "
            "val_loss,cost), val_loss,seconds or val_loss,params"
        )
    return tuple(names)


def train_sequences(corpus: Mapping[str, Any], seq_len: int) -> int:
    """Training sequences of `seq_len` tokens in the corpus of this manifest; {} is the built-in one
    at its usual size."""
    if not corpus:
        return BUILTIN_TOKENS // seq_len
    files = corpus["splits"]["train"]["files"]
    return sequences_in((int(file["tokens"]) for file in files), seq_len)


def counted_length(config: RunConfig, corpus: Mapping[str, Any]) -> RunLength:
    """The length of a run on the corpus of this manifest (`train_sequences`), also of a
    configuration that can't be trained there."""
    return RunLength.of(config, train_sequences(corpus, config.model.seq_len))


def counted_cost(config: RunConfig, unit: str, corpus: Mapping[str, Any]) -> float:
    """Floating-point operations of the whole run, or parameters. Seconds can't be counted."""
    if unit == PARAMETERS:
        return float(parameter_count(config.model))
    assert unit == FLOP, unit
    tokens = counted_length(config, corpus).total_tokens
    return float(tokens * flops_per_token(config.model))
