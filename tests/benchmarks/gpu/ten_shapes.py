"""Ten shapes one after the other in one process, as a reused worker of a search meets them: is each
compiled, and is the memory of those before given back?

python tests/benchmarks/gpu/ten_shapes.py --json shapes.json
python tests/benchmarks/gpu/ten_shapes.py --quick --device cpu     # does it work at all?

Torch gives up on compiling a function anew after the eighth time unless it is told otherwise, and
runs it uncompiled without a word: then the last shapes gain nothing over the steps launched by the
graph alone, in the table's last column.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import torch
from json_file import write_json

from minigpt_search.data.common.errors import run_command
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_precision, is_cuda
from minigpt_search.model.network.compiled import compile_blocks
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.step import Step

SHAPES = [(64, 64), (96, 64), (128, 64), (160, 64), (192, 64), (224, 64), (256, 64)]
SHAPES += [(128, 32), (128, 128), (64, 128)]
"""Widths and contexts."""
STEPS = 200


class Shape:
    """One shape's step on random tokens."""

    def __init__(self, config: RunConfig, device: str, *, compiled: bool) -> None:
        model = GPT(config.model).to(device).train()
        model.draw_dropout_from(torch.Generator(device))
        started = time.perf_counter()
        self.is_compiled = compiled and compile_blocks(model, config)
        self.compile_seconds = time.perf_counter() - started
        self.step = Step(model, config.train, device)
        shape = (config.train.batch_size, config.model.seq_len)
        self.tokens = torch.randint(config.model.vocab_size, shape, device=device)
        self.run(5)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step(self.tokens, self.tokens, 1e-3)
        self.step.sums.read()  # waits for the device

    def milliseconds(self, steps: int) -> float:
        """Of a step: the best of three turns."""
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            self.run(steps)
            seconds.append(time.perf_counter() - started)
        return min(seconds) / steps * 1e3


def give_back(device: str) -> float:
    """Free what a trial held, as a worker does; MB that are still allocated."""
    gc.collect()
    if not is_cuda(device):
        return 0.0
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated() / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--quick", action="store_true", help="tiny models, nothing compiled")
    args = parser.parse_args()
    base, steps = RunConfig().replace(precision=best_precision(args.device)), STEPS
    if args.quick:
        base, steps = base.replace(vocab_size=500, n_layers=1, batch_size=2), 2
    rows: list[dict[str, object]] = []
    print("| width | context | compiled | in s | ms | ms by the graph | gain | MB left |")
    print("|---|---|---|---|---|---|---|---|")
    for width, context in SHAPES:
        config = base.replace(embed_dim=width, seq_len=context)
        plain = Shape(config, args.device, compiled=False).milliseconds(steps)
        shape = Shape(config, args.device, compiled=not args.quick)
        own, seconds, compiled = shape.milliseconds(steps), shape.compile_seconds, shape.is_compiled
        del shape
        left = give_back(args.device)
        rows.append(
            {
                "embed_dim": width,
                "seq_len": context,
                "compiled": compiled,
                "compile_seconds": seconds,
                "milliseconds": own,
                "milliseconds_uncompiled": plain,
                "mb_left": left,
            }
        )
        print(
            f"| {width} | {context} | {compiled} | {seconds:.1f} | {own:.3f} | {plain:.3f} | "
            f"{plain / own:.2f} | {left:.0f} |",
            flush=True,
        )
        if args.json:  # at once, for a run that is cut short
            write_json(args.json, rows)
    return 0 if args.quick or all(row["compiled"] for row in rows) else 1


if __name__ == "__main__":
    run_command(main)
