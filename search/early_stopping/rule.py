"""Early stopping among comparable runs only: which trials are comparable at a rung, and whether
one goes on from there. No torch, no Ray.

Successive halving, asynchronous (ASHA): Li et al. 2018, arXiv 1810.05934, algorithm 2, in the form
that stops a trial instead of promoting one. Median rule: Golovin et al. 2017, "Google Vizier: A
Service for Black-Box Optimization", section 3.2.1, at one point instead of over running means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import RungRecord
from minigpt_search.model.training.rungs import SHARES
from minigpt_search.search.records.plan import NEVER

REDUCTION = 3
"""ASHA's eta: the best third goes on. Li et al. use 4; 3 is their successive halving's optimum in
theory (e, rounded) and spares more of few trials."""
LEAST_CONFIGURATIONS = {"asha": REDUCTION, "median": 4}
"""With fewer configurations at a rung, its own among them, everybody goes on: of fewer than three
there is no best third; of fewer than four the median is one of two trials."""
SAME_HORIZON, SAME_SHARE = 0.02, 0.05
"""Relative differences that rounding to whole sequences and steps may make."""


@dataclass(frozen=True, kw_only=True)
class RungHistory:
    """What other trials need to know of one at its rungs."""

    config: RunConfig
    rungs: tuple[RungRecord, ...]
    stopped: str | None = None
    """Why it was stopped at the last of its rungs; None if it went on."""

    @property
    def configuration(self) -> RunConfig:
        """Its configuration but for the seed: equal for the replicates of a configuration."""
        return self.config.replace(seed=0)


def find_comparable(config: RunConfig, rung: RungRecord, other: RungHistory) -> RungRecord | None:
    """The rung of `other` whose loss may be compared with that of a trial of `config` at `rung`.

    Of the same schedule; with wsd, whose rungs all lie before the decay, where both have seen as
    many tokens; with any other where both have the same horizon and are at the same share of it.
    """
    schedule = config.train.schedule
    if other.config.train.schedule != schedule:
        return None
    for its in other.rungs:
        alike = (
            math.isclose(its.tokens_seen, rung.tokens_seen, rel_tol=SAME_SHARE)
            if schedule == "wsd"
            else math.isclose(its.schedule_tokens, rung.schedule_tokens, rel_tol=SAME_HORIZON)
            and math.isclose(its.share, rung.share, rel_tol=SAME_SHARE)
        )
        if alike:
            return its
    return None


def why_stop(
    rule: str, config: RunConfig, rung: RungRecord, others: Iterable[RungHistory]
) -> str | None:
    """Why a trial of `config` stops at `rung`, or None if it goes on.

    The first replicate of a configuration that comes to a rung decides for the configuration, and
    the others follow it: else those would be left that had luck there. A configuration counts once
    in the comparison, with the mean of its replicates.
    """
    if rule == NEVER:
        return None
    configuration = config.replace(seed=0)
    losses: dict[RunConfig, list[float]] = {}
    for other in others:
        its = find_comparable(config, rung, other)
        if its is None:
            continue
        if other.configuration == configuration:
            return other.stopped if its == other.rungs[-1] else None
        losses.setdefault(other.configuration, []).append(its.val_loss_nats)
    means = [sum(values) / len(values) for values in losses.values()]
    if not _is_behind(rule, rung.val_loss_nats, means):
        return None
    rank = 1 + sum(mean < rung.val_loss_nats for mean in means)
    return (
        f"stopped {_where(config, rung)}: {rung.val_loss_nats:.2f} nats, "
        f"{_ordinal(rank)} of {len(means) + 1} there"
    )


def _is_behind(rule: str, loss: float, others: Sequence[float]) -> bool:
    """Whether `loss` is not good enough beside those of the other configurations at that rung."""
    everybody = 1 + len(others)
    if everybody < LEAST_CONFIGURATIONS[rule]:
        return False
    better = sum(other < loss for other in others)
    if rule == "asha":
        return better >= max(1, everybody // REDUCTION)
    ordered = sorted(others)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return loss > median


def _where(config: RunConfig, rung: RungRecord) -> str:
    if config.train.schedule == "wsd":
        return f"after {rung.tokens_seen:,} tokens"
    nearest = min(SHARES, key=lambda share: abs(share - rung.share))
    return f"at {Fraction(nearest)} of its run"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def curve_step(config: RunConfig, share: float, tokens_seen: int) -> int:
    """Where a loss stands on a trial's curve, for Optuna: thousandths of the run; with wsd tokens.

    TPE takes that stopped trial for the better one that came further by this count, and of two
    that came equally far the one with the lower loss.
    """
    return tokens_seen if config.train.schedule == "wsd" else round(1000 * share)
