"""How fast a shape trains and is scored here, from some steps on random tokens.

python search/planning/probe.py '{"device": "cpu", "threads": 1}'

One of the processes that `search/planning/measure.py` starts. It reads a request from each line of
standard input and writes its answer in one of standard output. With `"parent": PROCESS_ID` it ends
with that process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")

import torch

from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.data.tokenizers.base import token_dtype
from minigpt_search.model import notes
from minigpt_search.model.batching.source import batch_source
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import is_cuda, peak_memory_mb, use_device
from minigpt_search.model.loss.gpu import triton_fault, triton_runs
from minigpt_search.model.network.compiled import compile_blocks
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.out_of_memory import is_out_of_memory
from minigpt_search.model.scoring.evaluate import SEQUENCES_PER_BATCH
from minigpt_search.model.training.packed_step import PackedStep
from minigpt_search.model.training.step import Step
from minigpt_search.search.machines.gpu_share import free_memory, hold_to_share

WARM_UP_STEPS, MOST_WARM_UP_SECONDS = 5, 5.0
"""Whichever ends first on a CPU: steps can take seconds each, of a large model or beside other
work. On a GPU all are taken: the first compiles kernels, the third is captured as a graph."""
MOST_STEPS_AT_ONCE = 32
"""Between two looks at the clock, which wait for the device; in training it is waited for as
seldom."""
PARENT_SECONDS = 0.5
"""Between two looks at whether the parent lives."""
BATCHES = 64
"""Drawn at the start, as an epoch's order is; gone through again and again."""
SEGMENT_TOKENS = 1 << 20
"""Made up; a longer split is this segment many times over."""


class MadeUpSplit(SegmentedTextDataset):
    """A training split of random tokens, as long as a trial's, which takes little memory."""

    def __init__(self, sequences: int, config: RunConfig) -> None:
        """At least `sequences`, and less than a segment more."""
        t, v = config.model.seq_len, config.model.vocab_size
        super().__init__([], t)
        of_segment = max(1, min(sequences, SEGMENT_TOKENS // t))
        dtype = torch.int16 if token_dtype(v).itemsize == 2 else torch.int32
        segments = -(-sequences // of_segment)
        self._segments = [torch.randint(v, (of_segment * t + 1,)).to(dtype)] * segments
        self._starts = [of_segment * number for number in range(segments)]
        self._ends = [start + of_segment for start in self._starts]


class Probe:
    """A trial's model, or those of a pack, with what trains them."""

    def __init__(
        self,
        config: RunConfig,
        device: str,
        pack: int = 1,
        *,
        sequences: int,
        compiled: bool = False,
    ) -> None:
        """The models' steps and an evaluation are warmed up, so that they hold their memory.

        Args:
            sequences: of the training split, which each member copies to a GPU that has room.
            compiled: have the blocks compiled, where Triton runs.
        """
        notes.begin()
        if is_cuda(device) and not triton_runs():
            notes.note(f"no Triton kernels: {triton_fault()}")
        compiled = compiled and triton_runs()
        self.members = [_make_step(config, device, compiled) for _ in range(pack)]
        self.packed = PackedStep(self.members) if pack > 1 else None
        split = MadeUpSplit(sequences, config)
        self.sources = [batch_source(split, device) for _ in range(pack)]
        order = torch.randint(len(split), (BATCHES, config.train.batch_size))
        self.order = self.sources[0].prepare_indices(order)
        self.steps, self.tokens_a_step = 0, order.shape[1] * config.model.seq_len
        tokens = torch.randint(config.model.vocab_size, (1, config.model.seq_len))
        self.scored = tokens.expand(SEQUENCES_PER_BATCH, -1).to(device)
        self.lr = config.train.lr_peak
        began = time.perf_counter()
        for _ in range(WARM_UP_STEPS):
            self._train(1)
            if not is_cuda(device) and time.perf_counter() - began > MOST_WARM_UP_SECONDS:
                break
        self._score(1)

    def trained_per_second(self, seconds: float) -> float:
        """Tokens that all members together train on in a second, measured for `seconds`."""
        return _per_second(self._train, seconds) * len(self.members) * self.tokens_a_step

    @property
    def lacks_memory(self) -> bool:
        """Whether a step found too little for its graph: there is room for it only without."""
        steps = self.members if self.packed is None else [self.packed]
        return any(getattr(step.compute, "lacks_memory", False) for step in steps)

    @property
    def lacks_kernels(self) -> bool:
        """Whether it goes without what it noted: Triton's kernels, blocks that couldn't be
        compiled, a graph. With a compiler or more memory it is faster."""
        return bool(notes.kept())

    def scored_per_second(self, seconds: float) -> float:
        """Validation tokens that one member is scored on in a second."""
        return _per_second(self._score, seconds) * self.scored.numel()

    def _train(self, steps: int) -> None:
        for _ in range(steps):
            indices = self.order[self.steps % BATCHES]
            batches = [source.batch(indices) for source in self.sources]
            if self.packed is None:
                self.members[0](*batches[0], self.lr)
            else:
                tokens, targets = zip(*batches, strict=True)
                self.packed(tokens, targets, [self.lr] * len(batches))
            self.steps += 1
        self.members[-1].sums.read()  # waits for the device

    @torch.no_grad()
    def _score(self, batches: int) -> None:
        model = self.members[0].model.eval()
        for _ in range(batches):
            loss = model.loss(self.scored, self.scored)
        loss.item()  # waits for the device
        model.train()


def _make_step(config: RunConfig, device: str, compiled: bool) -> Step:
    model = GPT(config.model, config.width_ratio).to(device).train()
    model.draw_dropout_from(torch.Generator(device))
    if compiled:
        compile_blocks(model, config)
    return Step(model, config.train, device)


def _per_second(take: Callable[[int], None], seconds: float) -> float:
    """Steps a second of `take`, which takes as many as it is told."""
    started, steps, at_once = time.perf_counter(), 0, 1
    while time.perf_counter() - started < seconds:
        take(at_once)
        steps += at_once
        at_once = min(2 * at_once, MOST_STEPS_AT_ONCE)
    return steps / (time.perf_counter() - started)


def forget(device: str) -> None:
    """Have the next probe's memory be its own: without that of the one before, and its peak."""
    free_memory(device)
    if is_cuda(device):
        torch.cuda.reset_peak_memory_stats()


def end_with(parent: int) -> None:
    """Have this process end when its parent, process `parent`, is gone, whatever it is doing then:
    a parent that is killed can't end it, and in a session of its own no signal to the parent's
    reaches it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer the requests on standard input until it ends."""
    spec = json.loads(sys.argv[1])
    if "parent" in spec:
        end_with(spec["parent"])
    torch.set_num_threads(spec["threads"])
    use_device(spec["device"])
    probe: Probe | None = None
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer: dict[str, float] = {}
        try:
            if "config" in request:
                config = RunConfig.from_dict(request["config"])
                if probe is not None:
                    probe = None
                    forget(spec["device"])
                hold_to_share(spec["device"], request["gpus"])
                kinds = {name: request[name] for name in ("pack", "sequences", "compiled")}
                probe = Probe(config, spec["device"], **kinds)
            elif probe is not None:
                measured = {"train": probe.trained_per_second, "score": probe.scored_per_second}
                answer["tokens_per_second"] = measured[request["what"]](request["seconds"])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            sys.exit(f"measuring: {(str(error).splitlines() or ['no memory'])[0]}")
        answer["lacks_memory"] = probe is not None and probe.lacks_memory
        answer["lacks_kernels"] = probe is not None and probe.lacks_kernels
        answer["memory_mb"] = peak_memory_mb(spec["device"])
        answer["reserved_bytes"] = (
            torch.cuda.max_memory_reserved()
            if is_cuda(spec["device"])
            else answer["memory_mb"] * 1e6
        )
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
