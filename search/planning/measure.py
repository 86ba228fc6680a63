"""Processes that measure how fast a shape trains here, and the choice by what they measured.

What a search's trials will do at a time is measured at a time, each in a process of its own
(`search/planning/probe.py`): they share memory bandwidth, caches and a GPU's turns.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from minigpt_search.model.config import RunConfig
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.objective import train_sequences
from minigpt_search.search.trials.length import is_compiled_in

SIZES = (1, 2, 4, 8)
"""How many trials on a GPU, or in a pack, `auto` tries."""
PATIENCE_SECONDS = 20.0
"""After which it is said what is waited for, again and again."""
SEQUENCES = 1000
"""Of a training split, where none is named."""
SLOW = {
    "build": "is waiting for a model's first steps",
    "train": "is waiting for training steps to end",
    "score": "is waiting for an evaluation to end",
}
"""By what a process was asked for."""
LEAST_GAIN = 1.05
"""More trials together that gain less than this are not worth their memory."""


class ProbeProcess:
    """A process that trains one shape on random tokens, as a trial or a pack would.

    Use it in a `with`. Each `ask` is followed by its `answer`, which raises `ChildProcessError`
    if the process has ended, as when memory was short.
    """

    def __init__(self, device: str, threads: int) -> None:
        self.doing = "build"
        # It ends with this process, also where that is killed: else it would keep the GPU.
        spec = json.dumps({"device": device, "threads": threads, "parent": os.getpid()})
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("probe.py")), spec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # As a worker does: Inductor would start a process for each core, 32 at most.
            env=os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": str(threads)},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the driver, which ends it
        )

    def __enter__(self) -> ProbeProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, **request: Any) -> None:
        self.doing = str(request.get("what", "build"))
        assert self.process.stdin is not None
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise _ended_early() from None

    def answer(self) -> dict[str, float]:
        """`memory_mb`, the peak of the process; `reserved_bytes`, what its device must hold for
        it; `lacks_memory`, whether that is all it gets, without a step's graph; `lacks_kernels`,
        whether it goes without Triton's, compiled ones or that graph; and `tokens_per_second` of
        all members together, if that was asked for."""
        assert self.process.stdout is not None
        while not select.select([self.process.stdout], [], [], PATIENCE_SECONDS)[0]:
            print(f"Measuring  {SLOW[self.doing]}: this machine is slow or busy", file=sys.stderr)
        line = self.process.stdout.readline()
        if not line:
            raise _ended_early()
        answer: dict[str, float] = json.loads(line)
        return answer


def _ended_early() -> ChildProcessError:
    return ChildProcessError("a measuring process ended early; its message is above")


class Setting(TypedDict, total=False):
    """What a trial's speed and memory depend on besides its configuration."""

    sequences: int
    """Of the training split, which a GPU that has room holds a copy of for each trial."""
    compiled: bool
    """Whether its blocks are compiled, where Triton runs."""
    gpus: float
    """Its part of a GPU, whose memory it is held to."""


def setting_of(experiment: Experiment, config: RunConfig) -> Setting:
    """The setting of the experiment's trial of `config` that trains alone in its process."""
    sequences = train_sequences(experiment.corpus.manifest, config.model.seq_len)
    return {
        "sequences": sequences,
        "compiled": is_compiled_in(experiment, config),
        "gpus": experiment.machine.gpus_per_trial,
    }


def prepare(
    probes: Sequence[ProbeProcess], config: RunConfig, pack: int = 1, **setting: Unpack[Setting]
) -> float:
    """Have each build `pack` models of `config` and warm them up; the bytes that one's device must
    hold."""
    compiled = setting.get("compiled", False) and pack == 1
    request = {
        "config": config.to_dict(),
        "pack": pack,
        "sequences": setting.get("sequences", SEQUENCES),
        "compiled": compiled,
        "gpus": setting.get("gpus", 1.0),
    }
    # What the first has compiled the others find on disk.
    parts = (probes[:1], probes[1:]) if compiled else (probes,)
    answers = [answer for part in parts for answer in _ask_all(part, **request)]
    return answers[0]["reserved_bytes"]


def measure_together(
    probes: Sequence[ProbeProcess], what: str, seconds: float
) -> list[dict[str, float]]:
    """Each one's answer after all did `what`, "train" or "score", at a time."""
    return _ask_all(probes, what=what, seconds=seconds)


def _ask_all(probes: Sequence[ProbeProcess], **request: Any) -> list[dict[str, float]]:
    for probe in probes:
        probe.ask(**request)
    return [probe.answer() for probe in probes]


def have_room(answers: Sequence[Mapping[str, float]]) -> bool:
    """Whether each process has the memory that its trial would take: one that finds none for its
    step's graph goes on without, but a search of so many at a time would be planned too tightly."""
    return not any(answer.get("lacks_memory") for answer in answers)


def have_kernels(answers: Sequence[Mapping[str, float]]) -> bool:
    """Whether each process computes with all that a GPU's trials may have."""
    return not any(answer.get("lacks_kernels") for answer in answers)


def fewest_nearly_as_fast(rates: Mapping[int, float]) -> int:
    """The smallest size whose rate is within `LEAST_GAIN` of the best one's."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate * LEAST_GAIN >= best)
