"""The training loop in memory, and its checkpoints, which hold all that it needs to go on:
weights, optimizer, random states, training state and sums."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.batching.order import epoch_order, spread_evenly
from minigpt_search.model.batching.source import batch_source
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.allocator import keep_freed_memory
from minigpt_search.model.hardware.device import is_cuda, peak_memory_mb, use_device
from minigpt_search.model.loss.gpu import triton_runs
from minigpt_search.model.network.compiled import COMPILE_FROM_STEPS, compile_blocks
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import CheckpointRef, EpochRecord, RungRecord, Timing
from minigpt_search.model.run_length import check_validation, run_length
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.evaluate import bits_per_byte, evaluate, perplexity
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.optim import lr_at
from minigpt_search.model.training.rungs import rung_steps
from minigpt_search.model.training.step import Step

PROGRESS_EVERY_SECONDS = 1.0


class Diverged(Exception):
    """A loss or gradient is infinite or not a number, or the loss has exploded."""


class Stopped(Exception):
    """A hook ended the run at a rung."""


@dataclass
class TrainingState:
    """How far a run has come; with weights, optimizer and random states, all that it is."""

    steps: int = 0
    """Optimizer steps since the run's start."""
    epoch_steps: int = 0
    """Of these, in the epoch under way."""
    epoch_seconds: float = 0.0
    """Training time of the epoch under way."""
    epochs: list[EpochRecord] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)
    trunk_steps: int = 0
    """Steps taken over from a longer run (`model/training/trunk.py`)."""
    trunk_seconds: float = 0.0
    """Of `timing`, what that run spent on them."""
    rungs: list[RungRecord] = field(default_factory=list)


class Run:
    """A run in memory: `train_epoch` until `done`, then `save_final`."""

    def __init__(
        self,
        config: RunConfig,
        corpus: Corpus,
        device: str,
        checkpoint_dir: Path | None,
        checkpoint_every_seconds: float,
        hooks: Hooks,
        *,
        packed: bool = False,
        rungs: bool = False,
    ) -> None:
        started = time.perf_counter()
        self.config, self.corpus, self.device, self.hooks = config, corpus, device, hooks
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every_seconds = checkpoint_every_seconds
        self.train_set = corpus.dataset("train", config.model.seq_len)
        self.val_set = corpus.dataset("val", config.model.seq_len)
        check_validation(len(self.val_set), config.model.seq_len)
        self.length = run_length(config, len(self.train_set))
        self.rung_steps = rung_steps(config.train, self.length) if rungs else ()
        keep_freed_memory()
        use_device(device)
        if is_cuda(device):  # a reused process has a peak of the trial before
            torch.cuda.reset_peak_memory_stats()
        self.batches = batch_source(self.train_set, device)
        torch.manual_seed(config.train.seed)
        self.model = GPT(config.model, config.width_ratio).to(device).train()
        self.generator = torch.Generator(device).manual_seed(config.train.seed)
        self.model.draw_dropout_from(self.generator)
        long = self.length.total_steps >= COMPILE_FROM_STEPS
        if long and is_cuda(device) and triton_runs() and not packed:  # a pack has its own blocks
            compile_blocks(self.model, config)
        self.one_step = Step(self.model, config.train, device)
        self.state = TrainingState()
        self._enable_divergence_check()
        self._resume()
        now = time.perf_counter()
        self.last_checkpoint = self.last_progress = now
        self.timed_until = started
        """Up to here `state.timing` has the run's time, on `time.perf_counter`'s clock."""
        self.hooks.on_start(self.state.steps)
        self.add_elapsed("startup_seconds")

    @property
    def done(self) -> bool:
        return len(self.state.epochs) == self.config.train.epochs

    def train_epoch(self, until: int | None = None) -> None:
        """The rest of the epoch under way, its evaluation and its record; or up to step `until`."""
        for indices in self.batches_left():
            self.step(indices)
            if self.state.steps == until:
                self.report_progress()
                return
            if self.progress_is_due():
                self.report_progress()
            # Before a checkpoint: what goes on from it has been scored. An epoch's end is its own.
            if self.rung_is_due() and self.state.epoch_steps < self.length.steps_per_epoch:
                self.report_progress()
                self.end_rung(self._validate(f"step {self.state.steps}"))
            if self.checkpoint_is_due():
                self.report_progress()  # never keep a state that has diverged
                self.save_step()
        self.report_progress()
        self.end_epoch()

    def step(self, indices: Tensor) -> None:
        """Train on these sequences (B,) of the training split."""
        self.one_step(*self.next_batch(indices))
        self.count_step()

    def batches_left(self) -> Iterator[Tensor]:
        """The sequences (B,) of each step that is left in the epoch under way. They are sliced one
        by one: a list of a large corpus' batches takes more memory than the order itself."""
        epoch, size = len(self.state.epochs) + 1, self.config.train.batch_size
        order = epoch_order(self.length.sequences, seed=self.config.train.seed, epoch=epoch)
        order = self.batches.prepare_indices(spread_evenly(order, len(self.train_set)))
        starts = range(self.state.epoch_steps * size, len(order), size)
        return (order[start : start + size] for start in starts)

    def next_batch(self, indices: Tensor) -> tuple[Tensor, Tensor, float]:
        """Tokens and targets, (B, T) each, of these sequences, and the next step's rate."""
        return *self.batches.batch(indices), self._lr_at(self.state.steps)

    def _lr_at(self, step: int) -> float:
        return lr_at(
            step,
            lr_peak=self.config.train.lr_peak,
            warmup_steps=self.length.warmup_steps,
            total_steps=self.length.total_steps,
            schedule=self.config.train.schedule,
            decay_steps=self.length.decay_steps,
        )

    def count_step(self) -> None:
        """One more step was taken."""
        self.state.steps += 1
        self.state.epoch_steps += 1
        self._enable_divergence_check()

    def _enable_divergence_check(self) -> None:
        """From the end of the warm-up on: before it a loss may rise for a while."""
        if self.state.steps == self.length.warmup_steps:
            self.one_step.sums.enable_divergence_check()

    def progress_is_due(self) -> bool:
        return time.perf_counter() - self.last_progress >= PROGRESS_EVERY_SECONDS

    def checkpoint_is_due(self) -> bool:
        since = time.perf_counter() - self.last_checkpoint
        return self.checkpoint_dir is not None and since >= self.checkpoint_every_seconds

    def report_progress(self) -> None:
        """Close the training time so far, check that all is finite, and tell the hook."""
        state = self.state
        sums = self.one_step.sums.read()
        state.epoch_seconds += self.add_elapsed("training_seconds")
        self.last_progress = self.timed_until
        if sums.divergence is not None:
            state.steps += sums.steps_before_divergence + 1 - state.epoch_steps
            raise Diverged(f"step {state.steps}: {sums.divergence}")
        self.hooks.on_progress(
            Progress(
                step=state.steps,
                total_steps=self.length.total_steps,
                train_loss_nats=sums.loss / sums.sequences,
            )
        )

    def rung_is_due(self) -> bool:
        return self.state.steps in self.rung_steps

    def end_rung(self, val_loss: float) -> None:
        """Make the rung's record. Raises `Stopped` if the hook says so."""
        state = self.state
        record = RungRecord(
            step=state.steps,
            tokens_seen=self.length.tokens_after(state.steps),
            schedule_tokens=self.length.total_tokens,
            val_loss_nats=val_loss,
        )
        state.rungs.append(record)
        if self.hooks.on_rung(record):
            raise Stopped

    def _validate(self, after: str) -> float:
        """The loss in nats; raises `Diverged` if it is not finite."""
        val_loss = evaluate(self.model, self.val_set, tokens=self.config.train.val_tokens)
        self.add_elapsed("evaluation_seconds")
        # A large one is overfitting, not an explosion; from 700 nats on its perplexity is infinite.
        if not math.isfinite(perplexity(val_loss)):
            raise Diverged(f"validation loss not finite after {after}")
        return val_loss

    def end_epoch(self) -> None:
        """Evaluate, and make the epoch's record."""
        state = self.state
        epoch = len(state.epochs) + 1
        val_loss = self._validate(f"epoch {epoch}")
        sums = self.one_step.sums.read()
        record = EpochRecord(
            epoch=epoch,
            train_loss_nats=sums.loss / sums.sequences,
            val_loss_nats=val_loss,
            val_perplexity=perplexity(val_loss),
            val_bits_per_byte=bits_per_byte(val_loss, self.corpus.bytes_per_token("val")),
            lr_last=self._lr_at(state.steps - 1),
            grad_norm_mean=sums.grad_norm / state.epoch_steps,
            tokens_seen=epoch * self.length.tokens_per_epoch,
            wall_seconds=state.timing.total(),
            steps_per_second=state.epoch_steps / state.epoch_seconds,
            peak_memory_mb=peak_memory_mb(self.device),
        )
        state.epochs.append(record)
        state.epoch_steps, state.epoch_seconds = 0, 0.0
        self.one_step.sums.begin_epoch()
        self.hooks.on_epoch(record)
        if self.rung_is_due():
            self.end_rung(val_loss)

    def add_elapsed(self, part: str) -> float:
        """Add the time since the last call to this part of the timing; returns it in seconds."""
        now = time.perf_counter()
        seconds = now - self.timed_until
        self.state.timing = self.state.timing.plus(**{part: seconds})
        self.timed_until = now
        return seconds

    def restart_clock(self) -> None:
        """Leave out of the timing what has passed since the last `add_elapsed`: the run waited for
        others."""
        self.timed_until = time.perf_counter()

    def save_step(self) -> None:
        """Write a step checkpoint, if there is a folder for it."""
        if self.checkpoint_dir is None:
            return
        path = checkpoint.save_step(self._step_content(), self.checkpoint_dir, self.state.steps)
        self.hooks.on_checkpoint(path)
        self.add_elapsed("checkpointing_seconds")
        self.last_checkpoint = self.timed_until

    def save_branch(self, config: RunConfig, folder: Path) -> None:
        """Write this state into `folder` as a step checkpoint of `config`, a shorter run that has
        been the same so far."""
        state = dataclasses.replace(
            self.state,
            trunk_steps=self.state.steps,
            trunk_seconds=self.state.timing.total(),
        )
        content = self._step_content() | {
            "config": config.to_dict(),
            "position": dataclasses.asdict(state),
        }
        self.hooks.on_checkpoint(checkpoint.save_step(content, folder, self.state.steps))
        self.add_elapsed("checkpointing_seconds")

    def save_final(self) -> CheckpointRef | None:
        """Write the final weights, if there is a folder for them."""
        if self.checkpoint_dir is None:
            return None
        path = self.checkpoint_dir / "final.pt"
        content = {
            "config": self.config.to_dict(),
            "corpus_hash": self.corpus.content_hash,
            "val_loss_nats": self.state.epochs[-1].val_loss_nats,
            "model": self._weights(),
        }
        checkpoint.save_atomically(content, path)
        written = CheckpointRef(path=path.name, sha256=checkpoint.sha256(path))
        self.add_elapsed("checkpointing_seconds")
        return written

    def _weights(self) -> dict[str, Tensor]:
        # A pack's member shares storage with the others, and would be saved with them all.
        return {
            name: w.clone() if w.untyped_storage().nbytes() > w.nbytes else w
            for name, w in self.model.state_dict().items()
        }

    def _step_content(self) -> dict[str, Any]:
        step = self.one_step
        return {
            "config": self.config.to_dict(),
            "corpus_hash": self.corpus.content_hash,
            "model": self._weights(),
            "optimizer": step.optimizer.state_dict(),
            "scaler": step.scaler.state_dict(),
            "random_state": self.generator.get_state(),
            "sums": step.sums.state(),
            "position": dataclasses.asdict(self.state),
        }

    def _resume(self) -> None:
        if self.checkpoint_dir is None:
            return
        content = checkpoint.newest_step(self.checkpoint_dir)
        if content is None:
            return
        if (
            content["config"] != self.config.to_dict()
            or content["corpus_hash"] != self.corpus.content_hash
        ):
            raise UserError(
                f"{self.checkpoint_dir}: its checkpoint is of another configuration or corpus; "
                "use an empty folder"
            )
        self.model.load_state_dict(content["model"])
        self.one_step.load_optimizer(content["optimizer"])
        self.one_step.scaler.load_state_dict(content["scaler"])
        self.generator.set_state(content["random_state"])
        self.one_step.sums.load(content["sums"])
        state = content["position"]
        state["epochs"] = [EpochRecord(**epoch) for epoch in state["epochs"]]
        state["timing"] = Timing(**state["timing"])
        state["rungs"] = [RungRecord(**rung) for rung in state.get("rungs", [])]
        self.state = TrainingState(**state)
