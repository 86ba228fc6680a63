"""The ledger: one JSON record a line, appended by the driver, the only thing reports read.

A record is on disk (fsync) before the driver goes on, so a kill loses at most the line being
written. Such a torn last line has no newline: readers pass over it and the next append cuts it
off. Damage anywhere else is an error that names the line, or with `--skip-damaged` a warning: the
line stays where it is, and its trial counts as not run. Each line has a checksum (version 1 had
none). No torch, no Ray.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError, one_line
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import (
    COMPLETE,
    FAILED,
    STATUSES,
    CheckpointRef,
    Device,
    DocumentLosses,
    EpochRecord,
    RungRecord,
    Timing,
    TrialCurve,
)
from minigpt_search.search.records.samples import Samples

SCHEMA_VERSION = 4
"""Version 2 added the checksum; version 3 losses by document, and what counting scores; version 4
curves, and the predictions of ladders."""
OUT_OF_MEMORY = "out of memory"
"""How the error of a trial begins that failed for lack of memory: it is tried again, alone."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One ended trial."""

    trial_id: str
    """`model.config.trial_id` of the configuration and the corpus."""
    config: RunConfig
    replicate: int
    """0 for the first seed of a configuration, 1 for the second, ..."""
    status: str
    """One of `model.records.STATUSES`."""
    epochs: tuple[EpochRecord, ...]
    """The epochs that finished, in order."""
    error: str | None
    """Why a trial diverged or failed, in one line."""
    steps: int
    """Optimizer steps done."""
    timing: Timing
    device: Device | None
    """None when the trial failed before it had one."""
    versions: dict[str, str]
    """Python's and the libraries' versions."""
    checkpoint: CheckpointRef | None
    """The final weights."""
    attempts: int
    """How often the trial was started; more than 1 after a kill or a lost worker."""
    ended_at: str
    """UTC, ISO 8601."""
    pack: int = 1
    """Trials that trained together in its process, this one among them; `timing` and the speeds
    of the epochs are the pack's."""
    taken_from: str | None = None
    """The experiment that trained it, if this one took it over (`--extend`)."""
    trunk_steps: int = 0
    """Of `steps`, those that it took over from a longer trial of the same trunk
    (`model/training/trunk.py`), which paid for them."""
    trunk_seconds: float = 0.0
    """Of `timing`, what these took there: `timing` is that of the whole run from its start."""
    rungs: tuple[RungRecord, ...] = ()
    """Validations on the way, in order; none without `--stop`."""
    train_eval_loss_nats: float | None = None
    """The loss of the last weights on as many windows of the text it trained on as validation has,
    without dropout (`model/scoring/training_windows.py`); trials of `--grid claims` have it."""
    threads_of_attempts: tuple[int, ...] = ()
    """Threads of each attempt that its weights went through, if they changed on the way; else they
    are the device's all along."""
    val_documents: DocumentLosses | None = None
    """The last epoch's validation loss by document; None in a record, or on a corpus, of before
    that was kept, and of a trial that is not complete."""
    curve: TrialCurve | None = None
    """Its points by step; None in a record of before curves were kept, and of a trial that
    failed."""
    notes: tuple[str, ...] = ()
    """What it went without (`model/notes.py`), a line each; none in a record of before they were
    kept, and of a trial that failed."""

    @property
    def is_out_of_memory(self) -> bool:
        """Whether it failed for lack of memory."""
        return self.status == FAILED and (self.error or "").startswith(OUT_OF_MEMORY)

    @property
    def final(self) -> EpochRecord:
        """The last epoch of a complete trial; a `ValueError` for any other: no number of a trial
        that did not finish may stand beside one that did."""
        if self.status != COMPLETE or not self.epochs:
            raise ValueError(f"trial {self.trial_id} is {self.status}, it has no final result")
        return self.epochs[-1]


@dataclass(frozen=True, kw_only=True)
class RerunRecord:
    """One rerun of a trial, and with it one look at the test split."""

    trial_id: str
    val_loss_nats: float
    """What the rerun came to."""
    ledger_val_loss_nats: float
    """What the trial's own record says."""
    same_bits: bool
    """Whether the two are equal to the last bit."""
    same_machine: bool
    """Whether device, threads and library versions are the trial's: only then are equal bits
    expected."""
    test_loss_nats: float
    test_perplexity: float
    test_bits_per_byte: float
    checkpoint: CheckpointRef
    wall_seconds: float
    ended_at: str
    test_documents: DocumentLosses | None = None
    """The test loss by document, where the corpus says which token is of which."""
    train_eval_loss_nats: float | None = None
    """As a trial's; None in a record of before that was kept."""
    samples: tuple[Samples, ...] = ()
    """What the best, the median and the worst configuration write; none in a record of before that
    was kept."""


@dataclass(frozen=True, kw_only=True)
class BaselineRecord:
    """What counting the trials' own training text makes of the validation windows that they are
    scored on (`model/counting/baselines.py`): another for each size of text that the search has."""

    seq_len: int
    tokens_per_epoch: int | None
    """As the trials' configurations have it, and so the next one: None is all there are."""
    val_tokens: int | None
    counted_tokens: int
    """Training tokens that were counted: those of an epoch."""
    scored_tokens: int
    """Validation tokens that were scored."""
    losses: dict[str, float]
    """Mean cross-entropy a token in nats, by the model's name."""
    documents: dict[str, DocumentLosses]
    """The same by document, by the model's name; empty where the corpus doesn't say which token is
    of which."""


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """What a ladder said of a longer run, written before there was one."""

    tokens_per_epoch: int
    """Of the run that it is about."""
    tokens: int
    """Of the same, repeats counted."""
    width: int
    largest_rung_tokens: int
    """Repeats counted."""
    rung_trials: int
    """Trials with a result that it was made from."""
    rate: float
    """The best learning rate there, with the ends of its 95% interval."""
    rate_low: float
    rate_high: float
    use_rate: float
    """The rate of the lattice to use, which `--verify` trains."""
    rival_rate: float
    """The other that it trains."""
    refused: str
    """Why no point was given; empty where one was."""
    loss: float
    """Nats of one run at its best rate, with the ends of the 95% interval."""
    loss_low: float
    loss_high: float
    made_at: str
    """UTC, ISO 8601."""
    loss_caveat: str = ""
    """Why that loss was not to be relied on; empty where nothing spoke against it."""


Record = TrialRecord | RerunRecord | BaselineRecord | PredictionRecord
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


class Ledger:
    """The records of one experiment, in the order they were written."""

    def __init__(self, path: Path, skip_damaged: bool = False) -> None:
        """Read `path` (it need not exist yet). Raises `UserError` on a damaged line, unless it is
        to be passed over; then `damaged` names it."""
        self.path = path
        self._trials: dict[str, TrialRecord] = {}
        self._ended: set[str] = set()
        self.reruns: list[RerunRecord] = []
        self.baselines: list[BaselineRecord] = []
        self.predictions: list[PredictionRecord] = []
        self.damaged: list[str] = []
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        # Not `splitlines`: it takes a damaged byte for the end of a line.
        *lines, tail = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._remember(decode(line))
            except ValueError as error:
                damage = one_line(f"{path}, line {number} is damaged ({error})")
                if not skip_damaged:
                    raise UserError(
                        f"{damage}: restore it from a copy, or pass over it with --skip-damaged; "
                        "then --resume trains that trial again"
                    ) from None
                self.damaged.append(damage)
        self._whole_bytes = len(content) - len(tail)
        self._newline = b""
        """Before the next record, where the last one lacks its own."""
        self._take_over(tail)

    def _take_over(self, tail: bytes) -> None:
        """What follows the last newline was torn by a kill, and the next append cuts it off; but a
        record of which only the newline is missing or damaged is whole."""
        for whole in (tail, tail[:-1]):
            try:
                self._remember(decode(whole))
            except ValueError:
                continue
            self._whole_bytes += len(whole)
            self._newline = b"\n"
            return

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on disk. Raises `UserError` if it can't be."""
        line = self._newline + encode(record)
        try:
            with open(self.path, "ab") as file:
                file.truncate(self._whole_bytes)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
                self._whole_bytes = file.tell()
                self._newline = b""
        except OSError as error:
            raise UserError(f"{self.path}: can't be written to ({error.strerror})") from None
        self._remember(record)

    def _remember(self, record: Record) -> None:
        if isinstance(record, TrialRecord):
            self._trials.pop(record.trial_id, None)
            self._trials[record.trial_id] = record
            if record.status == FAILED:
                self._ended.discard(record.trial_id)
            else:
                self._ended.add(record.trial_id)
        elif isinstance(record, BaselineRecord):
            self.baselines.append(record)
        elif isinstance(record, PredictionRecord):
            self.predictions.append(record)
        else:
            self.reruns.append(record)

    @property
    def trials(self) -> list[TrialRecord]:
        """The newest record of each trial: a failed one may have been tried again on resume."""
        return list(self._trials.values())

    def ended(self) -> set[str]:
        """Ids of the trials that are not to be trained again: all but the failed ones."""
        return set(self._ended)

    def has_ended(self, trial_id: str) -> bool:
        """Whether it is one of `ended`."""
        return trial_id in self._ended

    @property
    def ended_count(self) -> int:
        """How many have `ended`."""
        return len(self._ended)

    def newest(self, trial_id: str) -> TrialRecord | None:
        """The newest record of one trial."""
        return self._trials.get(trial_id)

    def configurations(self) -> int:
        """How many there are, whatever their seeds and endings."""
        return len({record.config.replace(seed=0) for record in self._trials.values()})

    def complete(self) -> list[TrialRecord]:
        """The trials that finished, in the order they did."""
        return [t for t in self.trials if t.status == COMPLETE]

    def best(self) -> TrialRecord | None:
        """The complete trial with the lowest final validation loss."""
        return min(self.complete(), key=lambda t: t.final.val_loss_nats, default=None)


def open_ledger(folder: Path, skip_damaged: bool) -> Ledger:
    """The ledger of the experiment in `folder`; a line of warning for each one passed over.

    Raises `UserError` on a damaged line that is not to be passed over.
    """
    ledger = Ledger(folder / "ledger.jsonl", skip_damaged)
    for damage in ledger.damaged:
        print(f"Warning    {damage}: passed over, its trial counts as not run", flush=True)
    return ledger
