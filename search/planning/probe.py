"""How fast a shape trains and is scored here, from a few steps on random tokens.

python search/planning/probe.py SPEC      # one of the processes that search/planning/calibration.py
starts
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")

import torch

from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import peak_memory_mb, use_device
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.evaluate import SEQUENCES_PER_BATCH
from minigpt_search.model.training.packed_step import PackedStep
from minigpt_search.model.training.step import Step

MEASURED_SECONDS = 1.0


def measure_tokens_per_second(
    config: RunConfig, device: str, threads: int, pack: int = 1, seconds: float = MEASURED_SECONDS
) -> float:
    """Training tokens a second of `pack` trials of this shape in one process, all of them
    together, on random tokens. Leaves torch with `threads` threads."""
    torch.set_num_threads(threads)
    members = [_make_step(config, device) for _ in range(pack)]
    shape = (config.train.batch_size, config.model.seq_len)
    tokens, lr = torch.randint(config.model.vocab_size, shape), config.train.lr_peak
    packed = PackedStep(members) if pack > 1 else None

    def take(steps: int) -> None:
        for _ in range(steps):
            if packed is None:
                members[0](tokens, tokens, lr)
            else:
                packed([tokens] * pack, [tokens] * pack, [lr] * pack)
        members[-1].sums.read()  # waits for the device

    take(3)
    return _per_second(take, seconds) * pack * tokens.numel()


def _make_step(config: RunConfig, device: str) -> Step:
    model = GPT(config.model, config.width_ratio).to(device).train()
    model.draw_dropout_from(torch.Generator(device))
    return Step(model, config.train, device)


def measure_scored_per_second(config: RunConfig, device: str, seconds: float) -> float:
    """Validation tokens that one process scores a second."""
    model = GPT(config.model).to(device).eval()
    shape = (SEQUENCES_PER_BATCH, config.model.seq_len)
    tokens = torch.randint(config.model.vocab_size, shape, device=device)

    @torch.no_grad()
    def score(batches: int) -> None:
        for _ in range(batches):
            loss = model.loss(tokens, tokens)
        loss.item()  # waits for the device

    score(1)
    return _per_second(score, seconds) * tokens.numel()


def _per_second(take: Callable[[int], None], seconds: float) -> float:
    """Steps a second of `take`, which takes as many as it is told."""
    started, steps, at_once = time.perf_counter(), 0, 1
    while time.perf_counter() - started < seconds:
        take(at_once)
        steps += at_once
        at_once = min(2 * at_once, 32)  # as in training, a GPU must not be waited for at each step
    return steps / (time.perf_counter() - started)


def main() -> None:
    """For each line on standard input measure the next configuration of the argument."""
    spec = json.loads(sys.argv[1])
    device, threads, pack = spec["device"], spec["threads"], spec["pack"]
    torch.set_num_threads(threads)
    use_device(device)
    print("ready", flush=True)
    for raw in spec["configs"]:
        config = RunConfig.from_dict(raw)
        sys.stdin.readline()
        training = measure_tokens_per_second(config, device, threads, pack, 2 * MEASURED_SECONDS)
        scoring = measure_scored_per_second(config, device, MEASURED_SECONDS)
        memory = peak_memory_mb(device)
        print(json.dumps({"training": training, "scoring": scoring, "memory_mb": memory}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
