"""From what a run came to, to its record in the ledger."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from minigpt_search.model.hardware.device import versions
from minigpt_search.model.records import FAILED, CheckpointRef, Timing
from minigpt_search.model.training.train import TrainResult
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.trials.trial import Trial
from minigpt_search.search.worker.faults import known_device


def make_record(
    trial: Trial,
    ended: TrainResult | str,
    attempts: int,
    device: str,
    noted: Sequence[str] = (),
) -> TrialRecord:
    """The ledger's record of a trial that ended with a result, or with an error in one line: then
    `noted` is what its run went without, which a result holds itself."""
    result = None if isinstance(ended, str) else ended
    checkpoint = result.checkpoint if result else None
    if checkpoint is not None:
        path = f"checkpoints/{trial.trial_id}/{checkpoint.path}"
        checkpoint = CheckpointRef(path=path, sha256=checkpoint.sha256)
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=result.status if result else FAILED,
        epochs=result.epochs if result else (),
        error=ended if isinstance(ended, str) else ended.error,
        steps=result.steps if result else 0,
        timing=result.timing if result else Timing(),
        device=result.device if result else known_device(device),
        versions=versions(),
        checkpoint=checkpoint,
        attempts=attempts,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        pack=result.pack if result else 1,
        trunk_steps=result.trunk_steps if result else 0,
        trunk_seconds=result.trunk_seconds if result else 0.0,
        rungs=result.rungs if result else (),
        curve=result.curve if result else None,
        val_documents=result.val_documents if result else None,
        train_eval_loss_nats=result.train_eval_loss_nats if result else None,
        notes=result.notes if result else tuple(noted),
    )
