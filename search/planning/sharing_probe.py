"""One of the processes that `search/planning/choose_sharing.py` measures.

A line of JSON is its argument; it says in one when it is ready and what memory it took; for each
line of seconds on standard input it trains that long and says how many steps it took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")

import torch

from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import is_cuda, peak_memory_mb, use_device
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.evaluate import SEQUENCES_PER_BATCH
from minigpt_search.model.training.step import Step

WARM_UP_STEPS = 5
STEPS_AT_ONCE = 16
"""Between two looks at the clock, which wait for the device."""


class Trial:
    """A model and its step on random tokens."""

    def __init__(self, config: RunConfig, device: str) -> None:
        model = GPT(config.model, config.width_ratio).to(device).train()
        model.draw_dropout_from(torch.Generator(device))
        self.step, self.lr = Step(model, config.train, device), config.train.lr_peak
        shape = (config.train.batch_size, config.model.seq_len)
        self.tokens = torch.randint(config.model.vocab_size, shape, device=device)
        self.train(WARM_UP_STEPS)
        with torch.no_grad():  # an evaluation's batch takes more memory than a step's
            tokens = self.tokens[:1].expand(SEQUENCES_PER_BATCH, -1)
            model.loss(tokens, tokens)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.step(self.tokens, self.tokens, self.lr)
        self.step.sums.read()  # waits for the device

    def train_for(self, seconds: float) -> dict[str, float]:
        started, steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < seconds:
            self.train(STEPS_AT_ONCE)
            steps += STEPS_AT_ONCE
        return {"steps": steps, "seconds": passed}


def main() -> None:
    spec = json.loads(sys.argv[1])
    device = spec["device"]
    torch.set_num_threads(spec["threads"])
    use_device(device)
    trial = Trial(RunConfig.from_dict(spec["config"]), device)
    cached = torch.cuda.max_memory_reserved() if is_cuda(device) else peak_memory_mb(device) * 1e6
    print(json.dumps({"memory_bytes": cached}), flush=True)
    for line in sys.stdin:
        print(json.dumps(trial.train_for(float(line))), flush=True)


if __name__ == "__main__":
    main()
