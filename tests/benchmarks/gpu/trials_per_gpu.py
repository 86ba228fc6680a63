"""Training tokens a second of 1, 2, 4 and 8 trials on one GPU, all of them together: compiled, and
each with its copy of the built-in corpus' training split.

python tests/benchmarks/gpu/trials_per_gpu.py --json sharing.json
python tests/benchmarks/gpu/trials_per_gpu.py --quick --device cpu     # does it work at all?
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from json_file import write_json

from minigpt_search.data.common.errors import run_command
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_precision
from minigpt_search.search.planning.choose_sharing import choose, measure
from minigpt_search.search.planning.measure import SIZES, Setting
from minigpt_search.search.space.objective import BUILTIN_TOKENS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--quick", action="store_true", help="a tiny model, 1 and 2 trials")
    args = parser.parse_args()
    config = RunConfig().replace(precision=best_precision(args.device))
    if args.quick:
        config = config.replace(vocab_size=500, embed_dim=16)
    print("| trials | tokens/s, all together | times one |\n|---|---|---|")
    found: dict[int, float] = {}

    def show(size: int, rate: float) -> None:
        """At once, and into the file too, for a run that is cut short."""
        found[size] = rate
        print(f"| {size} | {rate:,.0f} | {rate / found[1]:.2f} |", flush=True)
        if args.json:
            write_json(args.json, found)

    most = 2 if args.quick else max(SIZES)
    sequences = BUILTIN_TOKENS // config.model.seq_len
    setting: Setting = {"sequences": sequences, "compiled": not args.quick}
    print(choose(measure(config, args.device, 1, most, on_rate=show, **setting))[1])
    return 0


if __name__ == "__main__":
    run_command(main)
