"""The training loop in memory: steps, epochs, their records, rungs, and when to save."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model import notes
from minigpt_search.model.batching.order import text_of, training_order
from minigpt_search.model.batching.source import batch_source
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.allocator import keep_freed_memory
from minigpt_search.model.hardware.device import is_cuda, peak_memory_mb, use_device
from minigpt_search.model.loss.gpu import triton_runs
from minigpt_search.model.network.compile_rule import is_compiled
from minigpt_search.model.network.compiled import compile_blocks
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.network.lacks import note_lacks
from minigpt_search.model.records import CheckpointRef, DocumentLosses, EpochRecord, RungRecord
from minigpt_search.model.run_length import check_validation, run_length
from minigpt_search.model.scoring.document_losses import losses_by_document
from minigpt_search.model.scoring.evaluate import (
    bits_per_byte,
    evaluate,
    perplexity,
    scored_windows,
)
from minigpt_search.model.scoring.training_windows import training_loss
from minigpt_search.model.training.checkpointer import Checkpointer, TrainingState
from minigpt_search.model.training.curve import CurveRecorder, curve_plan
from minigpt_search.model.training.hooks import Hooks, Progress
from minigpt_search.model.training.optim import lr_at
from minigpt_search.model.training.rungs import rung_steps
from minigpt_search.model.training.step import Step
from minigpt_search.model.training.step_sums import read_copies

PROGRESS_EVERY_SECONDS = 1.0


class Diverged(Exception):
    """A loss or gradient is infinite or not a number, or the loss has exploded."""


class Stopped(Exception):
    """A hook ended the run at a rung."""


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
        """Make everything for the first step, or for the next one after the newest checkpoint.

        Sets torch's global random state. Raises `UserError` for a configuration that this corpus
        can't serve, a device that isn't there, and a checkpoint of another run.

        Args:
            device: cpu, cuda or cuda:N.
            checkpoint_dir: where checkpoints are written; None writes none.
            packed: the steps are taken by a pack (`model/training/packed_loop.py`).
            rungs: validation is scored on the way too (`model/training/rungs.py`).
        """
        started = time.perf_counter()
        self.config, self.corpus, self.device, self.hooks = config, corpus, device, hooks
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every_seconds = checkpoint_every_seconds
        self.notes = notes.kept()
        """What it goes without, also from later on."""
        self.train_set = corpus.dataset("train", config.model.seq_len)
        self.val_set = corpus.dataset("val", config.model.seq_len)
        check_validation(len(self.val_set), config.model.seq_len)
        self.length = run_length(config, len(self.train_set))
        self.rung_steps = rung_steps(config.train, self.length) if rungs else ()
        self.plan = curve_plan(self.length, self.rung_steps)
        keep_freed_memory()
        use_device(device)
        if is_cuda(device):  # a reused process has a peak of the trial before
            torch.cuda.reset_peak_memory_stats()
            note_lacks(config)
        self.batches = batch_source(self.train_set, device)
        # Weights are drawn on the CPU, so that every device begins with the same; dropout draws
        # from a stream of its own, which a checkpoint can hold.
        torch.manual_seed(config.train.seed)
        self.model = GPT(config.model, config.width_ratio).to(device).train()
        generator = torch.Generator(device).manual_seed(config.train.seed)
        self.model.draw_dropout_from(generator)
        if is_compiled(self.length.total_steps, device, packed=packed) and triton_runs():
            compile_blocks(self.model, config)
        self.one_step = Step(self.model, config.train, device)
        self.checkpointer = Checkpointer(
            config=config,
            corpus_hash=corpus.content_hash,
            step=self.one_step,
            generator=generator,
            tokenizer=corpus.kept_tokenizer,  # now: at the end the corpus may be gone
        )
        self.documents = corpus.documents("val")  # now: at the end the corpus may be gone
        self.val_documents: DocumentLosses | None = None
        """The last epoch's validation loss by document, once it was scored."""
        self.state = TrainingState()
        self._enable_divergence_check()  # before the checkpoint's sums, which know better
        if checkpoint_dir is not None:
            self.state = self.checkpointer.restore(checkpoint_dir) or self.state
        notes.keep(self.state.notes)
        self.state.notes = self.notes
        self.curve = CurveRecorder(self.state.curve)
        now = time.perf_counter()
        self.last_checkpoint = self.last_progress = now
        self.timed_until = started
        """Up to here `state.timing` has the run's time, on `time.perf_counter`'s clock."""
        self.hooks.on_start(self.state.steps)
        self.add_elapsed("startup_seconds")

    @property
    def done(self) -> bool:
        """Whether every epoch is over."""
        return len(self.state.epochs) == self.config.train.epochs

    def train_epoch(self, until: int | None = None) -> None:
        """Train the rest of the epoch under way, evaluate and make its record; or train up to step
        `until` alone. Raises `Diverged`, and `Stopped` at a rung where the hook says so."""
        for indices in self.batches_left():
            self.step(indices)
            if self.is_scored_between():
                self.report_progress()
                self.score_between()
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
        epoch, train = len(self.state.epochs) + 1, self.config.train
        n, available, size = self.length.sequences, len(self.train_set), train.batch_size
        order = training_order(n, available, seed=train.seed, epoch=epoch, schedule=train.schedule)
        order = self.batches.prepare_indices(order)
        starts = range(self.state.epoch_steps * size, len(order), size)
        return (order[start : start + size] for start in starts)

    def next_batch(self, indices: Tensor) -> tuple[Tensor, Tensor, float]:
        """Tokens and targets, (B, T) each, of these sequences (B,), and the next step's learning
        rate."""
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
        """Note that one more step was taken."""
        self.state.steps += 1
        self.state.epoch_steps += 1
        self._enable_divergence_check()
        if self.state.steps in self.plan.steps:
            lr = self._lr_at(self.state.steps - 1)
            self.curve.take(self.state.steps, lr, self.one_step.sums.copy_sums())

    def _enable_divergence_check(self) -> None:
        """From the end of the warm-up on: before it a loss may rise for a while."""
        if self.state.steps == self.length.warmup_steps:
            self.one_step.sums.enable_divergence_check()

    def progress_is_due(self) -> bool:
        """Whether the hook was last told of progress a second ago or earlier."""
        return time.perf_counter() - self.last_progress >= PROGRESS_EVERY_SECONDS

    def checkpoint_is_due(self) -> bool:
        """Whether there is a folder for checkpoints, and the last is old enough."""
        since = time.perf_counter() - self.last_checkpoint
        return self.checkpoint_dir is not None and since >= self.checkpoint_every_seconds

    def report_progress(self) -> None:
        """Close the training time so far and tell the hook. Raises `Diverged` if a step since the
        last call has; `state.steps` is that step then."""
        state = self.state
        # Waits for the device, so that the time of the steps that are still under way counts too.
        sums = self.one_step.sums.read()
        state.epoch_seconds += self.add_elapsed("training_seconds")
        self.last_progress = self.timed_until
        if sums.divergence is not None:
            state.steps += sums.steps_before_divergence + 1 - state.epoch_steps
        self.curve.read(read_copies, until=state.steps)
        if sums.divergence is not None:
            raise Diverged(f"step {state.steps}: {sums.divergence}")
        self.hooks.on_curve(state.curve.record())
        self.hooks.on_progress(
            Progress(
                step=state.steps,
                total_steps=self.length.total_steps,
                train_loss_nats=sums.loss / sums.sequences,
            )
        )

    def is_scored_between(self) -> bool:
        """Whether the run stands at a point of validation between epochs' ends and rungs."""
        return self.state.steps in self.plan.between

    def score_between(self) -> None:
        """Score a few windows of validation for the curve. It decides nothing."""
        self._note_validation(self._score_few(), self.plan.tokens_between)
        self.add_elapsed("evaluation_seconds")

    def _score_few(self) -> float:
        return evaluate(self.model, self.val_set, tokens=self.plan.tokens_between)

    def _note_validation(self, loss: float, tokens: int | None) -> None:
        if self.state.steps in self.plan.val_steps:
            scored = len(scored_windows(self.val_set, tokens)) * self.config.model.seq_len
            self.curve.note_validation(self.state.steps, loss, scored)
            self.hooks.on_curve(self.state.curve.record())

    def rung_is_due(self) -> bool:
        """Whether the run stands at one of its rungs."""
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
        """The validation loss in nats. Raises `Diverged` if it is not finite."""
        val_loss = self._score()
        self.add_elapsed("evaluation_seconds")
        # A large one is overfitting, not an explosion; from 700 nats on its perplexity is infinite.
        if not math.isfinite(perplexity(val_loss)):
            raise Diverged(f"validation loss not finite after {after}")
        self._note_validation(val_loss, self.config.train.val_tokens)
        return val_loss

    def _score(self) -> float:
        """The validation loss in nats; after the last step by document too."""
        tokens = self.config.train.val_tokens
        if self.documents is None or self.state.steps < self.length.total_steps:
            return evaluate(self.model, self.val_set, tokens=tokens)
        losses: list[Tensor] = []
        val_loss = evaluate(self.model, self.val_set, tokens=tokens, token_losses=losses)
        windows = scored_windows(self.val_set, tokens)
        self.val_documents = losses_by_document(self.documents, windows, losses)
        return val_loss

    def score_training(self) -> float:
        """The loss in nats on some of the text that it trained on, without dropout."""
        train, available = self.config.train, len(self.train_set)
        text = text_of(self.length.sequences, available, seed=train.seed, schedule=train.schedule)
        sets = self.train_set, self.val_set
        loss = training_loss(self.model, *sets, text=text, val_tokens=train.val_tokens)
        self.add_elapsed("evaluation_seconds")
        return loss

    def end_epoch(self) -> None:
        """Evaluate, and make the epoch's record. Raises `Diverged`, and `Stopped` if a rung lies at
        this step and the hook says so."""
        state = self.state
        epoch = len(state.epochs) + 1
        val_loss = self._validate(f"epoch {epoch}")
        if self.plan.between and state.steps == self.length.total_steps:
            self.curve.note_few(self._score_few())
            self.add_elapsed("evaluation_seconds")
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
        self.curve.begin_epoch(
            (sums.loss, sums.sequences, sums.grad_norm, float(state.epoch_steps))
        )
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
        self.hooks.on_checkpoint(self.checkpointer.save_step(self.state, self.checkpoint_dir))
        self.add_elapsed("checkpointing_seconds")
        self.last_checkpoint = self.timed_until

    def save_branch(self, config: RunConfig, folder: Path) -> None:
        """Write this state into `folder` as a step checkpoint of `config`, a run of another length
        that has been the same so far."""
        self.hooks.on_checkpoint(self.checkpointer.save_branch(self.state, config, folder))
        self.add_elapsed("checkpointing_seconds")

    def save_final(self) -> CheckpointRef | None:
        """Write the final weights, if there is a folder for them."""
        if self.documents and self.val_documents is None:  # it went on from its last step
            self._score()
            self.add_elapsed("evaluation_seconds")
        if self.checkpoint_dir is None:
            return None
        val_loss = self.state.epochs[-1].val_loss_nats
        written = self.checkpointer.save_final(val_loss, self.checkpoint_dir)
        self.add_elapsed("checkpointing_seconds")
        return written
