"""The parts of an experiment's plan: how it searches, against which noise, where, and from what.

Each part checks itself when it is made, also when it is read from a file: what no search could have
written is a `ValueError`. No torch, no Ray: reports read them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from minigpt_search.data.corpus.manifest import SPLITS
from minigpt_search.data.tokenizers.record import GPT2, vocab_size_of
from minigpt_search.model.records import COMPLETE, DIVERGED
from minigpt_search.search.space.axes import Value
from minigpt_search.search.space.objective import parse_max_cost, parse_objectives
from minigpt_search.search.storage.uri import check_uri

SAMPLERS = ("tpe", "gp", "cmaes", "qmc", "random")
EVEN, LATE = SPENDING = ("even", "late")
"""How looks share an error: each as much, or the last nearly all of it."""
PAIRED = False
"""Whether a new experiment's configurations share their seeds without `--paired` or `--no-paired`:
docs/noise.md has what was measured."""
NEVER = "never"
STOPPERS = ("asha", "median", NEVER)
"""The rules of early stopping; `never` scores the rungs and stops nothing."""
LOGGERS = ("wandb", "mlflow", "trackio")
"""Who else may get the trials' curves and results (`search/loggers`)."""


START_SECONDS = 6.0
"""From the plan's lines to the first trial's start: Ray and its workers (2026-11-24, 2 cores)."""
END_SECONDS = 3.0
"""From the last trial's end to the command's: Ray's end, study.db, the table."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How configurations are chosen and compared."""

    sampler: str | None = None
    """None for a grid, else one of SAMPLERS."""
    samples: int | None = None
    """How many configurations a sampler tries; None for a grid."""
    objectives: tuple[str, ...] = ("val_loss",)
    """What is minimised: val_loss, or val_loss and one of `search.space.objective.COSTS`."""
    max_cost: str | None = None
    """What the best configuration may cost, such as 5e14flop, 30s or 8Mparam; None: anything."""
    stopper: str | None = None
    """One of STOPPERS; None: no rungs are scored."""
    budget_seconds: float | None = None
    """From the command's start, resumed parts added up; None: no limit. Then a sampler's `samples`
    are at most so many, and when the budget is spent those that there were."""
    predicted_seconds: float | None = None
    """What the plan said that the search takes, from the plan to the command's end: without the
    command's start, measuring and preparing the corpus before it, and without confirming. None
    after a resume that changed the plan or what trials have of the machine."""

    def __post_init__(self) -> None:
        if self.sampler not in (None, *SAMPLERS):
            raise ValueError(f"sampler {self.sampler!r}")
        if (self.sampler is None) != (self.samples is None):
            raise ValueError("a sampler and its number of samples go together")
        parse_objectives(",".join(self.objectives))
        parse_max_cost(self.max_cost)
        for seconds in (self.budget_seconds, self.predicted_seconds):
            if seconds is not None and seconds <= 0:
                raise ValueError(f"a budget or prediction of {seconds} s")
        if self.stopper not in (None, *STOPPERS):
            raise ValueError(f"stopper {self.stopper!r}")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The seeds of a search, and what is spent on telling luck from merit."""

    seeds: int = 1
    """Replicates of each configuration."""
    base_seed: int = 0
    """What the replicates' seeds and the sampler's derive from."""
    paired: bool = False
    """Whether replicate r of every configuration has the same seed, so that differences are told by
    paired tests. Experiments from before there was `--paired` don't say: their configurations have
    seeds of their own."""
    confirm: int | None = None
    """How many of the best get fresh seeds after the search (`search/results/confirm.py`)."""
    confirm_seeds: int = 8
    """Fresh replicates of each at most: they tell 1.6 standard deviations apart, and cost two the
    price of 16 trials."""
    spending: str = EVEN
    """One of SPENDING: how the looks of `confirm` share the 5%. Experiments from before there was
    `late` don't say, and go on as they began."""
    delta_nats: float = 0.01
    """A difference that doesn't matter: what is within it of the best is as good. 0.01 nats are 1%
    of the perplexity, and a third of what seeds differ by at `quick`."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}")
        if (self.confirm is not None and self.confirm < 2) or self.confirm_seeds < 2:
            raise ValueError(f"confirm {self.confirm} with {self.confirm_seeds} seeds")
        if self.spending not in SPENDING:
            raise ValueError(f"spending {self.spending!r}")
        if not 0 < self.delta_nats < math.inf:
            raise ValueError(f"delta_nats is {self.delta_nats}")


@dataclass(frozen=True, kw_only=True)
class MachineUse:
    """What trials run on, and how they share it."""

    device: str
    """cpu or cuda."""
    hardware: dict[str, Any]
    """processor, cores, memory_gb, gpus; gpu_memory_gb where there are some, but not in experiments
    from before it was kept; nodes, where there are several."""
    max_concurrent: int
    """Trials that run at a time."""
    is_capped: bool = False
    """Whether `max_concurrent` was asked for, so that also a cluster's new nodes don't raise it."""
    threads_per_trial: int
    gpus_per_trial: float
    """GPUs of a trial, or its part of one; 0 on a CPU."""
    pack: int = 1
    """Most trials that train together in one process (`search/planning/choose_pack.py`)."""
    checkpoint_every_seconds: float = 45.0
    """A kill costs at most this much of each trial's training."""

    def __post_init__(self) -> None:
        for name in ("max_concurrent", "threads_per_trial", "pack"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}")
        if self.device not in ("cpu", "cuda") or self.gpus_per_trial < 0:
            raise ValueError(f"device {self.device!r} with {self.gpus_per_trial} GPUs")
        kinds = {"cores": int, "memory_gb": int | float, "gpus": list}
        for name, kind in kinds.items():
            if not isinstance(self.hardware.get(name), kind):
                raise ValueError(f"hardware: {name} is {self.hardware.get(name)!r}")


@dataclass(frozen=True, kw_only=True)
class StorageUse:
    """Where an experiment lives, and how much room it may take."""

    uri: str | None = None
    """Of the storage beside this machine (`search/storage/base.py`); None: in its folder alone."""
    max_disk_bytes: int | None = None
    """What the experiment's folder may hold (`search/driver/disk_limit.py`); None: as much as there
    is."""
    loggers: tuple[str, ...] = ()
    """Of LOGGERS: what its trials are runs of, too."""

    def __post_init__(self) -> None:
        if self.uri is not None:
            check_uri(self.uri)
        if not set(self.loggers) <= set(LOGGERS):
            raise ValueError(f"loggers {self.loggers}")


@dataclass(frozen=True, kw_only=True)
class CorpusUse:
    """The text that is trained on."""

    content_hash: str = ""
    """SHA-256 over its tokens; empty for a plan made before the corpus is there."""
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The corpus' manifest, whole."""

    @property
    def name(self) -> str:
        """The corpus' folder name."""
        return str(self.manifest["name"])

    @property
    def tokenizer(self) -> str:
        """The tokenizer's name, as `--tokenizer` had it."""
        return str(self.manifest["tokenizer"].get("name", GPT2))

    @property
    def tokenizer_kind(self) -> str:
        """One of gpt2, byte, char, bpe, file."""
        return str(self.manifest["tokenizer"].get("kind", GPT2))

    @property
    def vocab_size(self) -> int:
        """The tokenizer's entries, the separator included."""
        return vocab_size_of(self.manifest["tokenizer"])

    def bytes_per_token(self, split: str) -> float:
        """The UTF-8 bytes of the split's text for each of its tokens."""
        counts = self.manifest["splits"][split]
        return float(counts["bytes"] / counts["tokens"])

    def same_tokenizer(self, other: CorpusUse) -> bool:
        """Whether text is the same tokens in both."""
        return self._tokenizer_identity() == other._tokenizer_identity()

    def _tokenizer_identity(self) -> tuple[Any, ...]:
        kept = self.manifest["tokenizer"]
        files = kept.get("files", {}) if self.tokenizer_kind != GPT2 else {}
        return self.tokenizer_kind, self.vocab_size, files

    def different_text(self, other: CorpusUse) -> tuple[str, ...]:
        """The splits that are not known to be of the same text in both, whatever their tokens. A
        corpus from before its manifest had hashes of the text has only its tokens to tell."""
        if self.content_hash == other.content_hash:
            return ()
        mine, theirs = self._texts(), other._texts()
        return tuple(name for name in mine if mine[name] is None or mine[name] != theirs[name])

    def _texts(self) -> dict[str, Any]:
        """What tells each split's text from another: its hash, None without one. A training text
        without one is told by its documents and bytes: it is of the corpus of the others."""
        splits = self.manifest["splits"]
        found = {name: splits[name].get("text_sha256") for name in SPLITS}
        if found["train"] is None:
            found["train"] = [splits["train"]["documents"], splits["train"]["bytes"]]
        return found


@dataclass(frozen=True, kw_only=True)
class KnownPoint:
    """One result of another experiment that a sampler observes before it begins."""

    values: dict[str, Value]
    """The axes' values."""
    objective: float
    """Validation loss in nats."""
    seconds: float
    """Seconds of training."""
    status: str = COMPLETE
    """COMPLETE or DIVERGED; of the latter `objective` is a uniform prediction's loss."""

    def __post_init__(self) -> None:
        if self.status not in (COMPLETE, DIVERGED):
            raise ValueError(f"a known point is {self.status!r}")


@dataclass(frozen=True, kw_only=True)
class FailedPoint:
    """A configuration that came to no result and will come to none."""

    values: dict[str, Value]
    """The axes' values."""
    reason: str
    """Why (`search.results.barriers`): a word for the screen."""
    warm: bool = False
    """Whether it is known from `--warm-start` alone: of another search, whose values may lie far
    from those of this one."""


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """What is taken from other experiments."""

    extends: str | None = None
    """The experiment whose finished trials it takes over."""
    warm_starts: tuple[str, ...] = ()
    """Experiments that it began with (`search/reuse/warm_start.py`)."""
    known_points: tuple[KnownPoint, ...] = ()
    """What a sampler observed of them: kept here, since they may be deleted."""
    failed_points: tuple[FailedPoint, ...] = ()
    """Configurations of these experiments outside of this plan that diverged or found too little
    memory: beyond them nothing is advised."""
    mixed: bool = False
    """Whether trials that it took over were made by other code or libraries."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made the experiment's numbers (`search/records/provenance.py` compares it)."""

    versions: dict[str, str]
    """Python's and the libraries'."""
    git_commit: str | None = None
    """The checkout's commit, with `+changes` if files differ from it; None outside a checkout."""
    code: dict[str, str] = dataclasses.field(default_factory=dict)
    """`search.records.provenance.code_hashes` when it began; empty for one of an older program."""
