"""A record of the ledger as a line of JSON with a checksum, and back; what no training can have
come to is refused. No torch, no Ray.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from itertools import pairwise

from minigpt_search.data.common import checked_json
from minigpt_search.model.records import (
    COMPLETE,
    STATUSES,
    TrialCurve,
)
from minigpt_search.search.records.ledger_records import (
    BaselineRecord,
    PredictionRecord,
    Record,
    RerunRecord,
    TrialRecord,
)

SCHEMA_VERSION = 4
"""Version 2 added the checksum; version 3 losses by document, and what counting scores; version 4
curves, and the predictions of ladders."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS: dict[str, type[Record]] = {
    "trial": TrialRecord,
    "rerun": RerunRecord,
    "baseline": BaselineRecord,
    "prediction": PredictionRecord,
}


def encode(record: Record) -> bytes:
    """One line of JSON. Raises `ValueError` for a number that is not finite or can't be."""
    _check_numbers(record)
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(record, cls))
    fields = {"schema_version": SCHEMA_VERSION, "record": kind, **dataclasses.asdict(record)}
    return json.dumps(checked_json.seal(fields), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Record:
    """The inverse of `encode`. Raises `ValueError` for anything else."""
    raw = checked_json.loads(line)
    fields = checked_json.unseal(raw)
    version, kind = fields.pop("schema_version", None), fields.pop("record", None)
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, this program reads 1 to {SCHEMA_VERSION}")
    if version > 1 and not checked_json.is_sealed(raw):
        raise ValueError("its checksum is missing")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"unknown record {kind!r}")
    record = checked_json.build(_KINDS[kind], fields)
    _check_numbers(record)
    return record


def _check_numbers(record: Record) -> None:
    """Raise `ValueError` for what no training can have come to."""
    if isinstance(record, BaselineRecord):
        for loss in record.losses.values():
            _check_loss(loss)
        return
    if isinstance(record, PredictionRecord):
        _check_prediction(record)
        return
    if not _ID.fullmatch(record.trial_id):  # it names a folder
        raise ValueError(f"trial id {record.trial_id!r}")
    if isinstance(record, RerunRecord):
        _check_loss(record.val_loss_nats)
        _check_loss(record.ledger_val_loss_nats)
        _check_loss(record.test_loss_nats, record.test_perplexity)
        _check_loss(record.train_eval_loss_nats or 0.0)
        for each in record.samples:
            if each.texts and len(each.texts) != len(each.prompts):
                raise ValueError("samples that are not one for each prompt")
        return
    if record.status not in STATUSES:
        raise ValueError(f"unknown status {record.status!r}")
    _check_loss(record.train_eval_loss_nats or 0.0)
    if record.status == COMPLETE and not record.epochs:
        raise ValueError("complete without an epoch")
    for number, epoch in enumerate(record.epochs, start=1):
        if epoch.epoch != number:
            raise ValueError(f"epoch {epoch.epoch} where {number} is due")
        _check_loss(epoch.train_loss_nats)
        _check_loss(epoch.val_loss_nats, epoch.val_perplexity)
    for before, rung in zip((None, *record.rungs), record.rungs, strict=False):
        _check_loss(rung.val_loss_nats)
        if rung.step <= (before.step if before else 0):
            raise ValueError(f"a rung at step {rung.step} after one at {before and before.step}")
        if not 0 < rung.tokens_seen <= rung.schedule_tokens:
            raise ValueError(f"a rung at {rung.tokens_seen} of {rung.schedule_tokens} tokens")
    if record.curve is not None:
        _check_curve(record.curve)


def _check_curve(curve: TrialCurve) -> None:
    """Each list has a number for each of its steps, which ascend; no loss is negative."""
    training = (curve.train_loss_nats, curve.grad_norm, curve.grad_norm_max, curve.lr)
    validation = (curve.val_loss_nats, curve.val_tokens)
    for steps, columns in ((curve.steps, training), (curve.val_steps, validation)):
        if any(len(column) != len(steps) for column in columns):
            raise ValueError("a curve whose columns differ in length")
        if any(one >= other for one, other in pairwise((0, *steps))):
            raise ValueError("a curve whose steps don't ascend")
    for loss in (*curve.train_loss_nats, *curve.val_loss_nats, curve.few_val_loss_nats or 0.0):
        _check_loss(loss)


def _check_prediction(record: PredictionRecord) -> None:
    """Numbers lie within their intervals, rates above 0."""
    if not 0 < record.rate_low <= record.rate <= record.rate_high:
        raise ValueError(f"a best rate of {record.rate}")
    if not record.use_rate > 0 or not record.rival_rate > 0:
        raise ValueError(f"rates to train of {record.use_rate} and {record.rival_rate}")
    if not record.loss_low <= record.loss <= record.loss_high:
        raise ValueError(f"an expected loss of {record.loss}")
    if not 0 < record.largest_rung_tokens < record.tokens or record.tokens_per_epoch < 1:
        raise ValueError(f"a prediction for {record.tokens} tokens")


def _check_loss(nats: float, perplexity: float | None = None) -> None:
    """A cross-entropy is not negative, and its perplexity is its exponential."""
    if nats < 0:
        raise ValueError(f"a loss of {nats} nats")
    if perplexity is None:
        return
    log = math.log(perplexity) if perplexity > 0 else math.nan
    if not math.isclose(log, nats, rel_tol=1e-9, abs_tol=1e-9):
        raise ValueError(f"a loss of {nats} nats with a perplexity of {perplexity}")
