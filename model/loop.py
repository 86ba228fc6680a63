"""The training loop in memory, and its checkpoints, which hold all that it needs to go on:
weights, optimizer, random states, position and sums."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data.corpus import Corpus
from data.errors import UserError
from model import checkpoint
from model.batches import check_validation, epoch_order, evenly_spaced, run_length
from model.config import RunConfig
from model.device import TORCH_TYPES, peak_memory_mb
from model.evaluate import bits_per_byte, evaluate, perplexity
from model.gpt import GPT
from model.hooks import Hooks, Progress
from model.optim import lr_at, make_optimizer, set_lr
from model.records import CheckpointRef, EpochRecord, Timing

PROGRESS_EVERY_SECONDS = 1.0


class Diverged(Exception):
    """A loss or gradient is infinite or not a number."""


@dataclass
class _Position:
    """How far a run has come; with weights, optimizer and random states, all that it is."""

    steps: int = 0
    """Optimizer steps since the run's start."""
    epoch_steps: int = 0
    """Of these, in the epoch under way."""
    epoch_seconds: float = 0.0
    """Training time of the epoch under way."""
    epochs: list[EpochRecord] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)


class Run:
    """A run in memory: `train_epoch` until `position` has them all, then `save_final`.

    Sums stay on the device: reading them once a second costs nothing, at every step it would
    make a GPU wait.
    """

    def __init__(
        self,
        config: RunConfig,
        corpus: Corpus,
        device: str,
        checkpoint_dir: Path | None,
        checkpoint_every_seconds: float,
        hooks: Hooks,
    ) -> None:
        started = time.perf_counter()
        self.config, self.corpus, self.device, self.hooks = config, corpus, device, hooks
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every_seconds = checkpoint_every_seconds
        self.train_set = corpus.dataset("train", config.model.seq_len)
        self.val_set = corpus.dataset("val", config.model.seq_len)
        check_validation(len(self.val_set), config.model.seq_len)
        self.length = run_length(config.train, config.model.seq_len, len(self.train_set))
        self.sequences = evenly_spaced(self.length.sequences, len(self.train_set))
        if device == "cuda":  # a reused process has a peak of the trial before
            torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(config.train.seed)
        self.model = GPT(config.model).to(device).train()
        self.optimizer = make_optimizer(self.model, config.train)
        self.scaler = torch.amp.GradScaler(device, enabled=config.train.precision == "fp16")
        self.position = _Position()
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)
        """Of the epoch so far: loss x sequences, sequences, gradient norms, steps before the first
        that is not finite."""
        self._resume()
        now = time.perf_counter()
        self.last_checkpoint = self.last_progress = self.mark = now
        self._add_time(startup_seconds=now - started)

    def train_epoch(self) -> None:
        """The rest of the epoch under way, its evaluation and its record."""
        position, batch_size = self.position, self.config.train.batch_size
        epoch = len(position.epochs) + 1
        order = epoch_order(self.length.sequences, seed=self.config.train.seed, epoch=epoch)
        batches = self.sequences[order].split(batch_size)
        for indices in batches[position.epoch_steps :]:
            self._step(indices)
            now = time.perf_counter()
            if now - self.last_progress >= PROGRESS_EVERY_SECONDS:
                self._report_progress()
            if now - self.last_checkpoint >= self.checkpoint_every_seconds:
                self.save_step()
        self._report_progress()
        self._end_epoch(epoch)

    def _step(self, indices: torch.Tensor) -> None:
        train, length, position = self.config.train, self.length, self.position
        lr = lr_at(
            position.steps,
            peak=train.lr_peak,
            warmup_steps=length.warmup_steps,
            total_steps=length.total_steps,
        )
        set_lr(self.optimizer, lr)
        x, y = self.train_set.batch(indices)  # (B, T) each
        x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        loss = self.model.loss(x, y, TORCH_TYPES[train.precision])
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), train.grad_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        n = len(indices)
        # fp16 meets infinite gradients by design: the scaler skips such a step.
        finite = torch.isfinite(loss if self.scaler.is_enabled() else loss.detach() + norm)
        finite &= self.sums[3] == position.epoch_steps
        norm = torch.where(torch.isfinite(norm), norm, 0.0)
        self.sums += torch.stack([loss.detach() * n, torch.full_like(norm, n), norm, finite])
        position.steps += 1
        position.epoch_steps += 1

    def _report_progress(self) -> None:
        """Close the training time so far, check that all is finite, and tell the hook."""
        position = self.position
        loss_sum, sequences, _, finite_steps = self.sums.tolist()  # waits for the device
        now = time.perf_counter()
        position.epoch_seconds += now - self.mark
        self._add_time(training_seconds=now - self.mark)
        self.mark = self.last_progress = now
        if finite_steps < position.epoch_steps:
            position.steps += int(finite_steps) + 1 - position.epoch_steps
            raise Diverged(f"loss or gradient not finite at step {position.steps}")
        self.hooks.on_progress(
            Progress(
                step=position.steps,
                total_steps=self.length.total_steps,
                train_loss_nats=loss_sum / sequences,
            )
        )

    def _end_epoch(self, epoch: int) -> None:
        position, train = self.position, self.config.train
        val_loss = evaluate(self.model, self.val_set, tokens=train.val_tokens)
        now = time.perf_counter()
        self._add_time(evaluation_seconds=now - self.mark)
        self.mark = now
        if not math.isfinite(val_loss):
            raise Diverged(f"validation loss not finite after epoch {epoch}")
        loss_sum, sequences, norm_sum, _ = self.sums.tolist()
        record = EpochRecord(
            epoch=epoch,
            train_loss_nats=loss_sum / sequences,
            val_loss_nats=val_loss,
            val_perplexity=perplexity(val_loss),
            val_bits_per_byte=bits_per_byte(val_loss, self.corpus.bytes_per_token("val")),
            lr_last=self.optimizer.param_groups[0]["lr"],
            grad_norm_mean=norm_sum / position.epoch_steps,
            tokens_seen=epoch * self.length.sequences * self.config.model.seq_len,
            wall_seconds=position.timing.total(),
            steps_per_second=position.epoch_steps / position.epoch_seconds,
            peak_memory_mb=peak_memory_mb(self.device),
        )
        position.epochs.append(record)
        position.epoch_steps, position.epoch_seconds = 0, 0.0
        self.sums.zero_()
        self.hooks.on_epoch(record)

    def _add_time(self, **seconds: float) -> None:
        self.position.timing = self.position.timing.plus(**seconds)

    def save_step(self) -> None:
        """Write a step checkpoint, if there is a folder for it."""
        if self.checkpoint_dir is None:
            return
        self._report_progress()  # never keep a state that has diverged
        checkpoint.save_step(self._content(), self.checkpoint_dir, self.position.steps)
        self.last_checkpoint = time.perf_counter()
        self._add_time(checkpointing_seconds=self.last_checkpoint - self.mark)
        self.mark = self.last_checkpoint

    def save_final(self) -> CheckpointRef | None:
        """Write the final weights, if there is a folder for them."""
        if self.checkpoint_dir is None:
            return None
        path = self.checkpoint_dir / "final.pt"
        content = {
            "config": self.config.to_dict(),
            "corpus_hash": self.corpus.content_hash,
            "val_loss_nats": self.position.epochs[-1].val_loss_nats,
            "model": self.model.state_dict(),
        }
        checkpoint.save_atomically(content, path)
        written = CheckpointRef(path=path.name, sha256=checkpoint.sha256(path))
        self._add_time(checkpointing_seconds=time.perf_counter() - self.mark)
        return written

    def _content(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state() if self.device == "cuda" else None
        return {
            "config": self.config.to_dict(),
            "corpus_hash": self.corpus.content_hash,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random_state": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "sums": self.sums,
            "position": dataclasses.asdict(self.position),
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
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["random_state"]["cpu"])
        if self.device == "cuda" and content["random_state"]["cuda"] is not None:
            torch.cuda.set_rng_state(content["random_state"]["cuda"])
        self.sums.copy_(content["sums"])
        position = content["position"]
        position["epochs"] = [EpochRecord(**epoch) for epoch in position["epochs"]]
        position["timing"] = Timing(**position["timing"])
        self.position = _Position(**position)
