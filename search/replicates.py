"""What the replicates of one configuration come to together: what a sampler is told of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from search.ledger import TrialRecord
from search.objective import SECONDS, cost_of_record


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One configuration's result."""

    status: str
    """complete if all its replicates are; else the worst that one of them came to: what diverges
    with one seed can't be relied on."""
    loss: float
    """Mean final validation loss in nats; that of guessing evenly where it is not complete, since a
    sampler that is told nothing would try the same region again."""
    training_seconds: float
    """Mean of one replicate."""


def cell_result(records: Sequence[TrialRecord]) -> CellResult:
    """Of all replicates of a configuration, one at least."""
    statuses = {record.status for record in records}
    status = next((bad for bad in (FAILED, DIVERGED, STOPPED) if bad in statuses), COMPLETE)
    loss = math.log(records[0].config.model.vocab_size)
    if status == COMPLETE:
        loss = sum(record.final.val_loss_nats for record in records) / len(records)
    seconds = sum(cost_of_record(record, SECONDS) for record in records) / len(records)
    return CellResult(status=status, loss=loss, training_seconds=seconds)
