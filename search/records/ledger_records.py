"""The records of a ledger: an ended trial, a rerun, what counting scores, what a ladder said.

Each is a line of JSON (`search/records/ledger_lines.py`). A field that a later version added has a
default, which older ledgers get. No torch, no Ray.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import (
    COMPLETE,
    FAILED,
    CheckpointRef,
    Device,
    DocumentLosses,
    EpochRecord,
    RungRecord,
    Timing,
    TrialCurve,
)
from minigpt_search.search.records.samples import Samples

OUT_OF_MEMORY = "out of memory"
"""How the error of a trial begins that failed for lack of memory: it is tried again, alone."""


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
    """Of `steps`, those that it took over from a longer or a shorter trial of the same trunk
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
