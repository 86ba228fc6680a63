"""Training speed of several trials as one batched model, against the same trials one by one.

python tests/benchmarks/training/packing.py                                   # on a CPU, one thread
python tests/benchmarks/training/packing.py --device cuda --precision bf16 --json packing.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")

import torch

from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_device, best_precision, describe_device
from minigpt_search.search.planning.measure import SIZES
from minigpt_search.search.planning.probe import Probe

SEQ_LEN = RunConfig().model.seq_len


def main() -> None:
    """Measure in turns, so that what slows the machine slows every size; print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=best_device(), choices=("cpu", "cuda"))
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="the device's best")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default="4,32", help="sequences of 64 tokens a step (4,32)")
    parser.add_argument("--embed-dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3, help="the table has their median")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--json", metavar="FILE", help="write all measurements there too")
    args = parser.parse_args()
    precision = args.precision or best_precision(args.device)
    base = RunConfig().replace(precision=precision, embed_dim=args.embed_dim)
    cells = [(int(batch), pack) for batch in args.batches.split(",") for pack in SIZES]
    rates: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    device = describe_device(args.device)
    about = {"device": device.name, "threads": args.threads, "precision": precision}
    torch.set_num_threads(args.threads)
    for _ in range(args.rounds):
        for batch, pack in cells:
            config = base.replace(batch_size=batch)
            rate = Probe(config, args.device, pack).trained_per_second(args.seconds)
            rates[batch, pack].append(rate)
            print(f"{batch} x {SEQ_LEN}, {pack}: {rate:,.0f} tokens/s", file=sys.stderr, flush=True)
            if args.json:  # at once, for a run that is cut short
                Path(args.json).write_text(
                    json.dumps(about | {"measurements": rows(rates)}, indent=1)
                )
    print(f"{device.name}, threads {args.threads}, {precision}, embed_dim {args.embed_dim}\n")
    print("| batch | pack | tokens/s, all together | against one by one |")
    print("|---|---:|---:|---:|")
    for (batch, pack), measured in rates.items():
        # One by one, K trials have the speed of one.
        gain = median(measured) / median(rates[batch, 1])
        print(f"| {batch} x {SEQ_LEN} | {pack} | {median(measured):,.0f} | {gain:.2f} |")


def rows(rates: dict[tuple[int, int], list[float]]) -> list[dict[str, object]]:
    """Those measured, for JSON."""
    return [
        {"batch": batch, "pack": pack, "tokens_per_second": measured}
        for (batch, pack), measured in rates.items()
        if measured
    ]


if __name__ == "__main__":
    main()
