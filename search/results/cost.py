"""What trials came to cost, and the Pareto front of loss and cost. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean as mean

from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.records.ledger import TrialRecord
from minigpt_search.search.space.objective import PARAMETERS, SECONDS, MaxCost


def cost_of_record(record: TrialRecord, unit: str) -> float:
    """What a trial came to cost: operations of the tokens it saw, parameters, or its seconds of
    training; a pack's seconds are shared among its members."""
    if unit == PARAMETERS:
        return float(parameter_count(record.config.model))
    if unit == SECONDS:
        return record.timing.training_seconds / record.pack
    return float(tokens_seen(record) * flops_per_token(record.config.model))


def within_limit(record: TrialRecord, limit: MaxCost) -> bool:
    """Whether what the trial came to cost is within `--max-cost`."""
    return cost_of_record(record, limit.unit) <= limit.most


def tokens_seen(record: TrialRecord) -> int:
    """Training tokens of the record's epochs and rungs, the last of which may lie beyond."""
    epochs = [epoch.tokens_seen for epoch in record.epochs]
    return max([0, *epochs, *(rung.tokens_seen for rung in record.rungs)])


def pareto_front(
    cells: Iterable[Sequence[TrialRecord]], unit: str, limit: MaxCost | None = None
) -> list[Sequence[TrialRecord]]:
    """The cells that no other beats in loss and cost, the cheapest first, each by the means of its
    replicates: of single trials those would be left that had luck. Of equals the first stays; what
    is above the limit is not in it.

    Args:
        cells: the complete trials of each configuration, one at least.
    """
    able = [cell for cell in cells if limit is None or mean_cost(cell, limit.unit) <= limit.most]
    able.sort(key=lambda cell: (mean_cost(cell, unit), _mean_loss(cell)))
    front: list[Sequence[TrialRecord]] = []
    for cell in able:
        if not front or _mean_loss(cell) < _mean_loss(front[-1]):
            front.append(cell)
    return front


def mean_cost(cell: Sequence[TrialRecord], unit: str) -> float:
    """What one of its replicates came to cost."""
    return mean(cost_of_record(record, unit) for record in cell)


def _mean_loss(cell: Sequence[TrialRecord]) -> float:
    return mean(record.final.val_loss_nats for record in cell)


def trained_flop(trial: TrialRecord) -> float:
    """Floating-point operations of the steps that a trial did."""
    tokens = trial.steps * trial.config.train.batch_size * trial.config.model.seq_len
    if trial.status == COMPLETE:
        tokens = trial.final.tokens_seen  # its last batch of an epoch may be short
    return float(tokens * flops_per_token(trial.config.model))
