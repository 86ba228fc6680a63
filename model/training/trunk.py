"""Runs of several lengths for little more than the longest: a trunk at constant rate, and a decay
branch for each shorter run.

Under the schedule wsd, runs that differ in epochs alone are one run until the decay of the shortest
begins. So the longest is trained, and where a shorter one's decay begins its state is written into
that one's folder as a step checkpoint, from which `train` goes on as after any kill. Each ends
with the bits that it has when trained from its start (CPU, same number of threads).

Runs that differ in tokens an epoch alone are one run within the first epoch of the shorter too. In
a ladder that one is trained first, and leaves its state for the longer one (`train_for_longer`).

Source: Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
Durations" (arXiv 2405.18392).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, DIVERGED
from minigpt_search.model.run_length import RunLength, run_length
from minigpt_search.model.training import checkpoint
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.loop import Diverged, Run
from minigpt_search.model.training.train import TrainResult, result_of, train


def trunk_of(config: RunConfig) -> RunConfig | None:
    """What runs that share a trunk have in common: the configuration but for its epochs. None for a
    run that can share none."""
    return config.replace(epochs=1) if config.train.schedule == "wsd" else None


def share_trunk(configs: Sequence[RunConfig]) -> bool:
    """Whether these are several runs that differ in epochs alone, under wsd."""
    trunks = {trunk_of(config) for config in configs}
    lengths = {config.train.epochs for config in configs}
    return 1 < len(configs) == len(lengths) and len(trunks) == 1 and None not in trunks


def train_branches(
    configs: Sequence[RunConfig],
    corpus: Corpus,
    *,
    device: str,
    checkpoint_dirs: Sequence[Path],
    checkpoint_every_seconds: float,
    hooks: Sequence[Hooks],
    score_training: bool = False,
) -> Iterator[tuple[int, TrainResult]]:
    """Train runs that share a trunk, the shortest first; yields each one's index in `configs` and
    its result as it ends. `checkpoint_dirs` and `hooks` are in the order of `configs`.

    A run that has a checkpoint of its own goes on from it; one whose branch is lost (the trunk is
    beyond it, and its checkpoint is missing or damaged) is trained from its start. Raises as
    `train` does, and `ValueError` for runs that don't share a trunk.
    """
    if not share_trunk(configs):
        raise ValueError("only runs that differ in epochs alone, under wsd, share a trunk")
    *shorter, longest = sorted(range(len(configs)), key=lambda n: configs[n].train.epochs)
    every = checkpoint_every_seconds
    notes.begin()
    trunk = Run(configs[longest], corpus, device, checkpoint_dirs[longest], every, hooks[longest])
    error: str | None = None
    for number in shorter:
        config, folder = configs[number], checkpoint_dirs[number]
        # A run with a checkpoint left the trunk in an earlier start: it needs it no more, even if
        # the trunk diverges later on.
        begun = checkpoint.newest_step(folder) is not None
        if not begun:
            error = error or _branch_off(trunk, config, folder)
        if error is not None and not begun:
            yield number, _diverged_with(trunk, error)
            continue
        yield (
            number,
            train(
                config,
                corpus,
                device=device,
                checkpoint_dir=folder,
                checkpoint_every_seconds=every,
                hooks=hooks[number],
                score_training=score_training,
            ),
        )
        trunk.restart_clock()  # it waited while the branch was trained
        notes.begin(trunk.notes)
    yield longest, _to_its_end(trunk, error, score_training)


def train_for_longer(
    config: RunConfig,
    corpus: Corpus,
    *,
    longer: RunConfig,
    longer_dir: Path,
    device: str,
    checkpoint_dir: Path,
    checkpoint_every_seconds: float,
    hooks: Hooks,
    score_training: bool = False,
) -> TrainResult:
    """Train `config` as `train` does, and write its state where `longer`, which has more tokens an
    epoch, parts from it into `longer_dir`, for that one to go on from."""
    notes.begin()
    run = Run(config, corpus, device, checkpoint_dir, checkpoint_every_seconds, hooks)
    return _to_its_end(run, _branch_off(run, longer, longer_dir), score_training)


def common_steps(one: RunLength, other: RunLength) -> int:
    """The steps in which two runs are one that have the same warm-up, under wsd, and differ in
    nothing but their epochs and their tokens an epoch."""
    until = min(one.constant_until, other.constant_until)
    if one.sequences == other.sequences:
        return until
    # What a short last batch of the shorter's epoch has is a whole batch's part in the longer.
    return min(until, min(one.sequences, other.sequences) // one.batch_size)


def _to_its_end(run: Run, error: str | None, score_training: bool) -> TrainResult:
    """Train the run to its end, if it hasn't diverged with this error."""
    try:
        while error is None and not run.done:
            run.train_epoch()
    except Diverged as reason:
        error = str(reason)
    status = DIVERGED if error else COMPLETE
    return result_of(run, status, error, score_training=score_training)


def _branch_off(trunk: Run, config: RunConfig, folder: Path) -> str | None:
    """Train the trunk to the step at which `config` parts from it and write its state there into
    `folder` as a checkpoint of `config`; do nothing if the trunk is beyond that step. Returns
    why the trunk diverged, None if it did not."""
    at = common_steps(trunk.length, run_length(config, len(trunk.train_set)))
    if trunk.state.steps > at:
        return None
    try:
        while trunk.state.steps < at:
            trunk.train_epoch(until=at)
    except Diverged as reason:
        return str(reason)
    trunk.save_branch(config, folder)
    return None


def _diverged_with(trunk: Run, error: str) -> TrainResult:
    """The result of a shorter run that would have diverged at the step at which the trunk did: all
    its steps and seconds are the trunk's."""
    ended = result_of(trunk, DIVERGED, error)
    return dataclasses.replace(ended, trunk_steps=ended.steps, trunk_seconds=ended.timing.total())
