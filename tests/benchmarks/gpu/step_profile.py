"""Where a step's time goes on a GPU: what each measure saves, the kernels, and the share of the
floor (`floor.py`: the step's products at the best rate seen, and AdamW's traffic).

python tests/benchmarks/gpu/step_profile.py --json profile.json
python tests/benchmarks/gpu/step_profile.py --compiled               # and what Inductor saves
python tests/benchmarks/gpu/step_profile.py --quick --device cpu     # seconds: does it work at all?
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import torch
from json_file import write_json

from minigpt_search.data.common.errors import run_command
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import TORCH_TYPES, best_precision, is_cuda
from minigpt_search.model.loss import gpu as loss_gpu
from minigpt_search.model.loss.cross_entropy import linear_cross_entropy
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.model.network import embedding
from minigpt_search.model.network.compiled import compile_blocks
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.step import Step

CHUNKS = (256, 512, 1024, 2048)
KERNELS_SHOWN = 40


class Timed:
    """A step on random tokens."""

    def __init__(
        self, config: RunConfig, device: str, *, graph: bool = True, compiled: bool = False
    ) -> None:
        torch.manual_seed(0)
        model = GPT(config.model).to(device).train()
        model.draw_dropout_from(torch.Generator(device))
        if compiled:
            compile_blocks(model, config)
        self.step = Step(model, config.train, device)
        if not graph:
            self.step.compute = self.step._compute
        shape = (config.train.batch_size, config.model.seq_len)
        self.tokens = torch.randint(config.model.vocab_size, shape, device=device)
        self.run(10)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step(self.tokens, self.tokens, 1e-3)
        self.step.sums.read()  # waits for the device

    def milliseconds(self, steps: int) -> float:
        """Of a step: the best of five turns."""
        return min(seconds_of(lambda: self.run(steps)) for _ in range(5)) / steps * 1e3


def seconds_of(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def head_milliseconds(config: RunConfig, device: str, chunk: int, steps: int) -> float:
    """The head's loss and gradients alone, `chunk` rows at a time."""
    rows, d = config.train.batch_size * config.model.seq_len, config.model.embed_dim
    v = config.model.vocab_size
    x = torch.randn(rows, d, device=device, requires_grad=True)
    weight = torch.randn(v, d, device=device).mul_(0.02).requires_grad_()
    targets = torch.randint(v, (rows,), device=device)
    dtype = TORCH_TYPES[config.train.precision]  # a T4 has no bf16

    def run() -> None:
        for _ in range(steps):
            loss = linear_cross_entropy(x, weight, targets, dtype=dtype)
            torch.autograd.grad(loss, (x, weight))
        loss.item()

    with mock.patch.object(loss_gpu, "CHUNK", chunk):
        run()
        return min(seconds_of(run) for _ in range(3)) / steps * 1e3


def print_kernels(timed: Timed, device: str) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if is_cuda(device):
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        timed.run(50)
    key = "self_cuda_time_total" if is_cuda(device) else "self_cpu_time_total"
    table = profile.key_averages().table(
        sort_by=key, row_limit=KERNELS_SHOWN, max_name_column_width=90
    )
    print(f"\n50 steps\n{table}")


def print_floor(config: RunConfig, device: str, milliseconds: float) -> float:
    """Say how far a step of so many milliseconds is from the floor; the floor's own."""
    from floor import Rates, best_of, floor_tokens_per_second

    tokens = config.train.batch_size * config.model.seq_len
    rates = best_of([Rates(config.model, tokens, device).turn() for _ in range(3)])
    floor = tokens / floor_tokens_per_second(config.model, tokens, rates) * 1e3
    best = max(rates["flops_per_second"].values()) / 1e12
    print(
        f"\nFloor: {floor:.3f} ms a step ({tokens * flops_per_token(config.model) / 1e9:.0f} GFLOP "
        f"at {best:.1f} TFLOP/s, and the update's traffic); reached: {floor / milliseconds:.0%}"
    )
    return floor


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compiled", action="store_true", help="with the blocks compiled too")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    args = parser.parse_args()
    device, steps = args.device, 5 if args.quick else 200
    config = RunConfig().replace(precision=best_precision(device))
    if args.quick:
        config = config.replace(vocab_size=500, embed_dim=16)
    tokens = config.train.batch_size * config.model.seq_len
    found: dict[str, float] = {}

    def keep(name: str, milliseconds: float) -> None:
        """At once, for a run that is cut short."""
        found[name] = milliseconds
        if args.json:
            write_json(args.json, found)

    print("| step | ms | tokens/s |\n|---|---|---|")

    def show(name: str, timed: Timed) -> float:
        milliseconds = timed.milliseconds(steps)
        print(f"| {name} | {milliseconds:.3f} | {tokens / milliseconds * 1e3:,.0f} |", flush=True)
        keep(name, milliseconds)
        return milliseconds

    show("launched kernel by kernel", Timed(config, device, graph=False))
    runs = loss_gpu.triton_runs()  # which the scatter asks too: each is taken away by itself
    with (
        mock.patch.object(loss_gpu, "triton_runs", lambda: False),
        mock.patch.object(embedding, "_kernel_serves", lambda total, rows: runs),
    ):
        show("graph, softmax by torch", Timed(config, device))
    with mock.patch.object(embedding, "_kernel_serves", lambda total, rows: False):
        show("graph, scatter by sorting", Timed(config, device))
    timed = Timed(config, device)
    best = show("graph, softmax by Triton", timed)
    if args.compiled:
        timed = Timed(config, device, compiled=True)
        best = min(best, show("the same, blocks by Inductor", timed))
    print("\n| rows of the head at a time | ms, the head alone, launched |\n|---|---|")
    for chunk in CHUNKS[:1] if args.quick else CHUNKS:
        head = head_milliseconds(config, device, chunk, steps)
        print(f"| {chunk} | {head:.3f} |", flush=True)
        keep(f"head, {chunk} rows at a time", head)
    keep("floor", print_floor(config, device, best))
    print_kernels(timed, device)  # last: a profiler may fail where all else works
    return 0


if __name__ == "__main__":
    run_command(main)
