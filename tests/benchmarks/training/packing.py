"""Training speed of several trials as one batched model, against the same trials one by one.

Each is measured in a process like those of a search, so that none has what another left on the
GPU. With `--compiled` what trains alone is compiled, as a search's long trials are; packs never
are.

python tests/benchmarks/training/packing.py                                   # on a CPU, one thread
python tests/benchmarks/training/packing.py --device cuda --precision bf16 --json packing.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")
    sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from json_file import write_json

from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_device, best_precision, hardware
from minigpt_search.search.planning.measure import (
    SIZES,
    ProbeProcess,
    have_room,
    measure_together,
    prepare,
)
from minigpt_search.search.space.objective import BUILTIN_TOKENS

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
    parser.add_argument("--compiled", action="store_true", help="what trains alone, on a GPU")
    parser.add_argument("--quick", action="store_true", help="a tiny model: does it work at all?")
    parser.add_argument("--json", metavar="FILE", help="write all measurements there too")
    args = parser.parse_args()
    precision = args.precision or best_precision(args.device)
    base = RunConfig().replace(precision=precision, embed_dim=args.embed_dim)
    if args.quick:
        base = base.replace(vocab_size=500, embed_dim=16)
    cells = [(int(batch), pack) for batch in args.batches.split(",") for pack in SIZES]
    rates: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    machine = hardware()
    device = (machine["gpus"] or ["no GPU"])[0] if args.device == "cuda" else machine["processor"]
    about = {"device": device, "threads": args.threads, "precision": precision}
    for _ in range(args.rounds):
        for batch, pack in cells:
            rate = measured(base.replace(batch_size=batch), pack, args)
            rates[batch, pack].append(rate)
            print(f"{batch} x {SEQ_LEN}, {pack}: {rate:,.0f} tokens/s", file=sys.stderr, flush=True)
            if args.json:  # at once, for a run that is cut short
                write_json(Path(args.json), about | {"measurements": rows(rates)})
    print(f"{device}, threads {args.threads}, {precision}, embed_dim {base.model.embed_dim}\n")
    print("| batch | pack | tokens/s, all together | against one by one |")
    print("|---|---:|---:|---:|")
    for (batch, pack), tokens in rates.items():
        # One by one, K trials have the speed of one.
        together, alone = median(tokens), median(rates[batch, 1])
        gain = f"{together / alone:.2f}" if alone else ""
        print(f"| {batch} x {SEQ_LEN} | {pack} | {together:,.0f} | {gain} |")
    if not all(median(rates[int(batch), 1]) for batch in args.batches.split(",")):
        sys.exit("a single run could not be measured")  # that is no lack of room


def measured(config: RunConfig, pack: int, args: argparse.Namespace) -> float:
    """Tokens a second of all members together; 0 if they have no room."""
    sequences = BUILTIN_TOKENS // SEQ_LEN
    with ProbeProcess(args.device, args.threads) as probe:
        try:
            prepare([probe], config, pack, sequences=sequences, compiled=args.compiled)
            [answer] = measure_together([probe], "train", args.seconds)
        except ChildProcessError as error:
            print(f"{config.train.batch_size}, {pack}: {error}", file=sys.stderr, flush=True)
            return 0.0
    if not have_room([answer]):
        print(f"{config.train.batch_size}, {pack}: no room for the graph", file=sys.stderr)
        return 0.0
    return answer["tokens_per_second"]


def rows(rates: dict[tuple[int, int], list[float]]) -> list[dict[str, object]]:
    """Those measured, for JSON."""
    return [
        {"batch": batch, "pack": pack, "tokens_per_second": measured}
        for (batch, pack), measured in rates.items()
        if measured
    ]


if __name__ == "__main__":
    main()
