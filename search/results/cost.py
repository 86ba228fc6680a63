"""What trials came to cost, and the Pareto front of loss and cost. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean as mean

from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.records.ledger_records import TrialRecord
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
    groups: Iterable[Sequence[TrialRecord]], unit: str, limit: MaxCost | None = None
) -> list[Sequence[TrialRecord]]:
    """The configurations that no other beats in loss and cost, the cheapest first, each by the
    means of its replicates: of single trials those would be left that had luck. Of equals the first
    stays; what is above the limit is not in it.

    Args:
        groups: the complete trials of each configuration, one at least.
    """
    able = [each for each in groups if limit is None or mean_cost(each, limit.unit) <= limit.most]
    points = [(mean_cost(e, unit), mean(t.final.val_loss_nats for t in e)) for e in able]
    return [able[i] for i in not_dominated(points)]


def not_dominated(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of those (cost, loss) that no other beats in both, the cheapest first; of equals
    the first."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=points.__getitem__):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front


def mean_cost(replicates: Sequence[TrialRecord], unit: str) -> float:
    """What one of the replicates came to cost."""
    return mean(cost_of_record(record, unit) for record in replicates)


def trained_flop(trial: TrialRecord) -> float:
    """Floating-point operations of the steps that a trial did."""
    tokens = trial.steps * trial.config.train.batch_size * trial.config.model.seq_len
    if trial.status == COMPLETE:
        tokens = trial.final.tokens_seen  # its last batch of an epoch may be short
    return float(tokens * flops_per_token(trial.config.model))
