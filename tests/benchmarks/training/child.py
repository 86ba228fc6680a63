"""One contender (or the floor's products) in a process of its own, so that its peak memory is its
own.

Started by `throughput.py`, which asks by a line of JSON on standard input and reads the answer, a
line of JSON, from standard output; waiting takes no processor time.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import torch

WARM_UP_STEPS = 3


def peak_memory_mb(device: str) -> float:
    """Highest memory so far: allocated on a GPU, else this process' resident set.

    VmHWM, not `ru_maxrss`: on Linux that starts at the peak of the process which started this one.
    """
    status = Path("/proc/self/status")
    if device == "cuda" or not status.exists():
        from minigpt_search.model.hardware.device import peak_memory_mb

        return peak_memory_mb(device)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


class Trainer:
    """A contender, built twice: without dropout and nothing compiled for its first loss, then to be
    timed."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from peers import KINDS

        from minigpt_search.data.corpus.corpus import open_corpus
        from minigpt_search.model.batching.order import epoch_order
        from minigpt_search.model.config import RunConfig

        self.config, self.device = RunConfig.from_dict(spec["config"]), spec["device"]
        self.corpus, self.kind = open_corpus(Path(spec["corpus"])), KINDS[spec["name"]]
        sequences = len(self.corpus.dataset("train", self.config.model.seq_len))
        order = epoch_order(sequences, seed=self.config.train.seed, epoch=1)
        batches = order.split(self.config.train.batch_size)
        self.batches = batches[: sequences // self.config.train.batch_size]  # whole ones

    def prepare(self) -> dict[str, Any]:
        """Take the first step without dropout; then build with it and warm up."""
        started = time.perf_counter()
        plain = self.config.replace(dropout=0.0), dataclasses.replace(self.kind, compile_mode=None)
        first_loss = self._make(*plain).train(self.batches[:1])
        gc.collect()
        self.contender = self._make(self.config, self.kind)
        self.next_batch: Iterator[torch.Tensor] = itertools.cycle(self.batches)
        with_dropout = self.contender.train(itertools.islice(self.next_batch, 1))
        self.contender.train(itertools.islice(self.next_batch, WARM_UP_STEPS - 1))
        return {
            "first_loss_nats": first_loss,
            "first_loss_with_dropout_nats": with_dropout,
            "prepare_seconds": time.perf_counter() - started,
        }

    def _make(self, config: Any, kind: Any) -> Any:
        return kind.make(config, self.corpus, self.device, kind)

    def turn(self, steps: int) -> dict[str, Any]:
        """Take `steps` steps."""
        started = time.perf_counter()
        self.contender.train(itertools.islice(self.next_batch, steps))
        return {"seconds": time.perf_counter() - started}


def make_worker(spec: dict[str, Any]) -> Any:
    """What this process is to be."""
    if spec["name"] == "products":
        from floor import Rates

        from minigpt_search.model.config import RunConfig

        config = RunConfig.from_dict(spec["config"])
        tokens = config.train.batch_size * config.model.seq_len
        return Rates(config.model, tokens, spec["device"])
    return Trainer(spec)


def main() -> None:
    spec = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    torch.set_num_threads(spec["threads"])
    memory = {"baseline_memory_mb": peak_memory_mb(spec["device"])}  # of `import torch` alone
    worker = make_worker(spec)
    idle_since = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        idle = {
            "idle_seconds": time.perf_counter() - idle_since[0],
            "idle_processor_seconds": time.process_time() - idle_since[1],
        }
        request = json.loads(line)
        answer = getattr(worker, request.pop("do"))(**request)
        # OpenMP's threads spin for some milliseconds; not in the next contender's turn.
        time.sleep(0.05)
        answer |= idle | memory | {"peak_memory_mb": peak_memory_mb(spec["device"])}
        idle_since = time.perf_counter(), time.process_time()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
