"""What a run is: the model's shape and the training recipe, checked when they are made.

Defaults are the recipe (the `full` preset). No torch here: reports read it too.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_type_hints

from minigpt_search.data.common.errors import UserError

PRECISIONS = ("fp32", "bf16", "fp16")
SCHEDULES = ("linear", "cosine", "wsd")
PARAMETRIZATIONS = ("standard", "mup")
_Config = TypeVar("_Config", "ModelConfig", "TrainConfig")
_ADDED_LATER: dict[str, Any] = {
    "schedule": "linear",
    "decay_fraction": 0.2,
    "parametrization": "standard",
    "mup_base_dim": 128,
}
"""Fields of `TrainConfig` that the first ledgers don't have, with what these were trained with."""


def _require(ok: bool, message: str) -> None:
    """Raise `UserError` with this message unless `ok`."""
    if not ok:
        raise UserError(message)


def _check_types(config: Any) -> None:
    """Raise `UserError` for a value of another type than its field's. Whole numbers in fields of
    floats become floats: 1 and 1.0 are one configuration, one trial_id."""
    for name, hint in _hints(cast(Any, type(config))).items():
        value = getattr(config, name)
        # `isinstance(0.0, hint)` holds for float and float | None. Beyond 2**53 a float would be
        # another number.
        if type(value) is int and isinstance(0.0, hint) and abs(value) < 2**53:
            object.__setattr__(config, name, float(value))
        elif (isinstance(value, bool) and hint is not bool) or not isinstance(value, hint):
            expected = getattr(hint, "__name__", hint)
            raise UserError(f"{name}={value!r}: give a value of type {expected}")


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of a class' fields, resolved once: a plan makes thousands of configurations."""
    return get_type_hints(cls)


MOST_RATE = 1.0
"""The highest learning rate that is taken."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder-only transformer (GPT-2's layout)."""

    vocab_size: int = 50_257
    """Entries in the token embedding. GPT-2's byte-pair encoding has 50,257."""
    seq_len: int = 64
    """Context length T in tokens; also the rows of the position embedding."""
    embed_dim: int = 128
    """Width D of the residual stream."""
    n_layers: int = 2
    """Transformer blocks."""
    n_heads: int = 4
    """Attention heads; each is embed_dim / n_heads wide."""
    dropout: float = 0.1
    """Probability of zeroing an activation, after embeddings, attention and each block's parts."""
    tie_head: bool = True
    """Whether the output head shares the token embedding's weights."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("vocab_size", "seq_len", "embed_dim", "n_layers", "n_heads"):
            value = getattr(self, name)
            _require(1 <= value <= 1_000_000, f"{name}={value}: give a number from 1 to 1,000,000")
        _require(
            self.embed_dim % self.n_heads == 0,
            f"embed_dim={self.embed_dim} is not divisible by n_heads={self.n_heads}: "
            f"use a multiple of {self.n_heads}",
        )
        _require(0 <= self.dropout < 1, f"dropout={self.dropout}: give a number from 0 up to 1")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training recipe: AdamW, and a learning rate that warms up and decays."""

    batch_size: int = 32
    """Sequences B in one optimizer step."""
    epochs: int = 3
    """Passes over the training sequences. The recipe's baseline is 3, its final model 10."""
    lr_peak: float = 1e-3
    """Learning rate at the end of the warm-up."""
    warmup_steps: int | None = 500
    """Optimizer steps from 0 to lr_peak; None when warmup_fraction is given."""
    warmup_fraction: float | None = None
    """The warm-up as a share of all steps instead, for runs whose length varies; under wsd as a
    share of one epoch's, since there runs of different length must begin alike."""
    weight_decay: float = 0.1
    """AdamW's decoupled decay, on matrices only (embeddings included)."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's mean."""
    beta2: float = 0.95
    """AdamW's decay of the gradient's square."""
    grad_clip_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    tokens_per_epoch: int | None = None
    """Training tokens in one epoch, taken evenly from the corpus, or under wsd from the first of an
    order of it that goes with the seed; None is all of them."""
    val_tokens: int | None = None
    """Validation tokens scored after each epoch, taken evenly; None is the whole split."""
    precision: str = "fp32"
    """Type of the matrix products: fp32, bf16 or fp16 (with a gradient scaler). Losses are always
    summed in fp32."""
    seed: int = 0
    """Seed of the initialisation, the order of the sequences and the dropout."""
    schedule: str = "linear"
    """How the rate goes on after the warm-up (`model.training.optim.lr_at`): linear to zero, cosine
    to a tenth, or wsd, which is constant and then linear to zero."""
    decay_fraction: float = 0.2
    """wsd's decay as a share of all steps. 0.2 matches a cosine of the same length: Hägele et al.
    2024 (arXiv 2405.18392)."""
    parametrization: str = "standard"
    """standard, or mup: initialisation, rates and multipliers that go with the width, so that the
    best learning rate does not (`model/network/mup.py`)."""
    mup_base_dim: int = 128
    """The width at which mup is the standard parametrization, to the bit."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name, low, high in (
            ("batch_size", 1, 1_000_000),
            ("epochs", 1, 100_000),
            ("mup_base_dim", 1, 1_000_000),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            _require(low <= value <= high, f"{name}={value}: give a number from {low} to {high:,}")
        _require(
            0 < self.lr_peak <= MOST_RATE,
            f"lr={self.lr_peak}: give a rate above 0, at most {MOST_RATE:g}",
        )
        _require(
            (self.warmup_steps is None) != (self.warmup_fraction is None),
            f"warmup_steps={self.warmup_steps} and warmup_fraction={self.warmup_fraction}: "
            "give exactly one of them",
        )
        _require(
            self.warmup_steps is None or self.warmup_steps >= 0,
            f"warmup_steps={self.warmup_steps}: give 0 or more",
        )
        fraction = self.warmup_fraction
        _require(
            fraction is None or 0 <= fraction < 1,
            f"warmup_fraction={fraction}: give a number from 0 up to 1",
        )
        _require(0 <= self.weight_decay <= 100, f"weight_decay={self.weight_decay}: give 0 to 100")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name}={value}: give a number from 0 up to 1")
        _require(
            self.grad_clip_norm > 0 and math.isfinite(self.grad_clip_norm),
            f"grad_clip_norm={self.grad_clip_norm}: give a number above 0",
        )
        for name in ("tokens_per_epoch", "val_tokens"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name}={value}: give 1 or more, or nothing")
        for name, known in (
            ("precision", PRECISIONS),
            ("schedule", SCHEDULES),
            ("parametrization", PARAMETRIZATIONS),
        ):
            value = getattr(self, name)
            _require(value in known, f"{name}={value!r}: give one of {', '.join(known)}")
        _require(
            0 < self.decay_fraction < 1,
            f"decay_fraction={self.decay_fraction}: give a number between 0 and 1",
        )

    def resolved_warmup_steps(self, total_steps: int) -> int:
        """The warm-up of a run of `total_steps`, in optimizer steps."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        assert self.warmup_fraction is not None
        of_steps = total_steps // self.epochs if self.schedule == "wsd" else total_steps
        return round(self.warmup_fraction * of_steps)

    def decay_steps(self, total_steps: int) -> int:
        """The optimizer steps, at least 1, at the end of a run of `total_steps` over which the
        learning rate falls; wsd's alone."""
        assert self.schedule == "wsd"
        return max(1, round(self.decay_fraction * total_steps))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that decides a run's numbers, but for the corpus and the machine. Equal ones are one
    configuration, and it can be a dictionary's key."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The configuration as two plain dicts, `model` and `train`: what the ledger keeps."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: Any) -> RunConfig:
        """The inverse of `to_dict`; fields that were added later may be missing. Raises `UserError`
        for a missing, unknown or mistyped key and for a value out of range."""
        if not isinstance(raw, dict) or set(raw) != {"model", "train"}:
            raise UserError("config: expected an object with the keys model and train")
        return cls(
            model=_from_fields(ModelConfig, raw["model"], "model"),
            train=_from_fields(TrainConfig, raw["train"], "train"),
        )

    def replace(self, **fields: Any) -> RunConfig:
        """A copy with `model` or `train` fields replaced by name (`lr_peak=1e-3`). Raises
        `UserError` for a value out of range, TypeError for a name that is no field."""
        model_names = {f.name for f in dataclasses.fields(ModelConfig)}
        return RunConfig(
            model=dataclasses.replace(
                self.model, **{k: v for k, v in fields.items() if k in model_names}
            ),
            train=dataclasses.replace(
                self.train, **{k: v for k, v in fields.items() if k not in model_names}
            ),
        )

    @property
    def width_ratio(self) -> float:
        """Width over the width at which muP is the standard parametrization; 1 without muP."""
        if self.train.parametrization == "standard":
            return 1.0
        return self.model.embed_dim / self.train.mup_base_dim

    def identity(self) -> dict[str, dict[str, Any]]:
        """The part of `to_dict` that names a configuration in `trial_id`. A field that was added
        later leaves no trace where it has no effect or its default, so that older names stay what
        they are."""
        fields = self.to_dict()
        train = fields["train"]
        if self.train.schedule != "wsd":
            train["decay_fraction"] = _ADDED_LATER["decay_fraction"]
        if self.train.parametrization == "standard":
            train["mup_base_dim"] = _ADDED_LATER["mup_base_dim"]
        fields["train"] = {
            k: v for k, v in train.items() if k not in _ADDED_LATER or v != _ADDED_LATER[k]
        }
        return fields

    def shape(self) -> RunConfig:
        """The configuration without what may differ in a pack: learning rate, weight decay and
        seed. Equal for runs that can be packed."""
        return self.replace(lr_peak=1.0, weight_decay=0.0, seed=0)


def _from_fields(cls: type[_Config], raw: Any, where: str) -> _Config:
    """A configuration of the fields in `raw`, which a file had at `where`. Raises `UserError`."""
    hints = _hints(cast(Any, cls))
    if not isinstance(raw, dict):
        raise UserError(f"config.{where}: missing or unknown keys: not an object")
    missing, unknown = set(hints) - set(_ADDED_LATER) - set(raw), set(raw) - set(hints)
    if missing or unknown:
        raise UserError(
            f"config.{where}: missing or unknown keys: {sorted(map(str, missing | unknown))}"
        )
    try:
        return cls(**raw)
    except UserError as error:
        raise UserError(f"config.{where}.{error}") from None


def trial_id(config: RunConfig, corpus_hash: str) -> str:
    """The name of this configuration (seed included) on this corpus: 16 hexadecimal digits of a
    SHA-256, the same in every process and on every machine."""
    text = json.dumps([config.identity(), corpus_hash], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
