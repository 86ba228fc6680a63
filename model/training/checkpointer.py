"""What a run needs to go on, saved to its checkpoints and restored from them: weights, optimizer,
gradient scaler, random state, sums, and how far it has come."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import CheckpointRef, EpochRecord, RungRecord, Timing
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.curve import CurveSoFar
from minigpt_search.model.training.step import Step


@dataclass
class TrainingState:
    """How far a run has come; with weights, optimizer, sums and random state, all that it is.

    The fields' names are the checkpoint format's.
    """

    steps: int = 0
    """Optimizer steps since the run's start."""
    epoch_steps: int = 0
    """Optimizer steps since the start of the epoch under way."""
    epoch_seconds: float = 0.0
    """Training time of the epoch under way."""
    epochs: list[EpochRecord] = field(default_factory=list)
    """The records of the epochs that are over."""
    timing: Timing = field(default_factory=Timing)
    """Where the seconds since the run's start went, resumed parts added up."""
    trunk_steps: int = 0
    """Steps taken over from another run (`model/training/trunk.py`)."""
    trunk_seconds: float = 0.0
    """Seconds of `timing` that the other run spent on those steps."""
    rungs: list[RungRecord] = field(default_factory=list)
    """Validations on the way, in the order of their steps."""
    curve: CurveSoFar = field(default_factory=CurveSoFar)
    """The curve's points, and what the next goes on from."""
    notes: list[str] = field(default_factory=list)
    """What it went without so far (`model/notes.py`), in earlier attempts and in its trunk too."""

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> TrainingState:
        """The inverse of `dataclasses.asdict`; checkpoints from before there were rungs or a
        curve have none."""
        return cls(
            **raw
            | {
                "epochs": [EpochRecord(**epoch) for epoch in raw["epochs"]],
                "timing": Timing(**raw["timing"]),
                "rungs": [RungRecord(**rung) for rung in raw.get("rungs", [])],
                "curve": CurveSoFar(**raw.get("curve", {})),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Checkpointer:
    """Saves and restores one run."""

    config: RunConfig
    corpus_hash: str
    """`Corpus.content_hash`: a checkpoint is of one corpus."""
    step: Step
    """Has the model, the optimizer, the gradient scaler and the sums."""
    generator: torch.Generator
    """Dropout's random stream."""
    tokenizer: dict[str, Any] | None = None
    """`Corpus.kept_tokenizer`: final weights go with the means to read and write text."""

    def save_step(self, state: TrainingState, folder: Path) -> Path:
        """Write all that the run needs to go on from `state` as a step checkpoint; its file."""
        return checkpoint.save_step(self._content(self.config, state), folder, state.steps)

    def save_branch(self, state: TrainingState, config: RunConfig, folder: Path) -> Path:
        """Write the same as a step checkpoint of `config`, a run of another length that has been
        the same so far, into its folder; its file."""
        branch = dataclasses.replace(
            state, trunk_steps=state.steps, trunk_seconds=state.timing.total()
        )
        return checkpoint.save_step(self._content(config, branch), folder, state.steps)

    def save_final(self, val_loss_nats: float, folder: Path) -> CheckpointRef:
        """Write the final weights, which have this validation loss."""
        path = folder / "final.pt"
        content = {
            "config": self.config.to_dict(),
            "corpus_hash": self.corpus_hash,
            "val_loss_nats": val_loss_nats,
            "model": self._weights(),
        }
        if self.tokenizer is not None:
            content["tokenizer"] = self.tokenizer
        checkpoint.save_atomically(content, path)
        return CheckpointRef(path=path.name, sha256=checkpoint.sha256(path))

    def restore(self, folder: Path) -> TrainingState | None:
        """Load the newest whole step checkpoint into model, optimizer, sums and random stream.

        Returns how far it had come; None, with nothing changed, if there is none. Raises
        `UserError` for a checkpoint of another configuration or corpus.
        """
        content = checkpoint.newest_step(folder)
        if content is None:
            return None
        if content["config"] != self.config.to_dict() or content["corpus_hash"] != self.corpus_hash:
            raise UserError(
                f"{folder}: its checkpoint is of another configuration or corpus; "
                "use an empty folder"
            )
        self.step.model.load_state_dict(content["model"])
        self.step.load_optimizer(content["optimizer"])
        self.step.scaler.load_state_dict(content["scaler"])
        self.generator.set_state(content["random_state"])
        self.step.sums.load(content["sums"])
        state = TrainingState.from_dict(content["position"])
        if "curve" not in content["position"]:  # its first point is of the steps from now on
            sums = self.step.sums.read()
            before = sums.loss, sums.sequences, sums.grad_norm, float(state.epoch_steps)
            state.curve = CurveSoFar(before=before, missing_steps=state.steps)
        return state

    def _content(self, config: RunConfig, state: TrainingState) -> dict[str, Any]:
        return {
            "config": config.to_dict(),
            "corpus_hash": self.corpus_hash,
            "model": self._weights(),
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            # Only dropout's: the order of an epoch has a stream of its own that depends on seed
            # and epoch alone, and nothing else draws once the weights are made.
            "random_state": self.generator.get_state(),
            "sums": self.step.sums.state(),
            "position": dataclasses.asdict(state),
        }

    def _weights(self) -> dict[str, Tensor]:
        # A pack's member shares storage with the others, and would be saved with them all.
        return {
            name: w.clone() if w.untyped_storage().nbytes() > w.nbytes else w
            for name, w in self.step.model.state_dict().items()
        }
