"""The assignment's longest run on a GPU: the `full` preset for 10 epochs, validated after each.

python tests/benchmarks/gpu/long_run.py --json long_run.json
python tests/benchmarks/gpu/long_run.py --quick --device cpu       # seconds: does it work at all?
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

from minigpt_search.data.common.errors import run_command
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_precision
from minigpt_search.model.records import EpochRecord
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.train import train


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts: the corpus")
    parser.add_argument("--quick", action="store_true", help="a tiny model and 20 steps an epoch")
    args = parser.parse_args()
    config = RunConfig().replace(epochs=10, precision=best_precision(args.device))
    if args.quick:
        config = config.replace(embed_dim=16, tokens_per_epoch=40_960, val_tokens=640)
        config = config.replace(warmup_steps=20, epochs=2)
    corpus = open_corpus(artifacts_root(args.out) / "corpus" / "builtin")
    print("| epoch | train loss | validation loss | steps/s | peak MB |\n|---|---|---|---|---|")
    epochs: list[dict[str, object]] = []

    def show(e: EpochRecord) -> None:
        """At once, and into the file too, for a run that is cut short."""
        print(
            f"| {e.epoch} | {e.train_loss_nats:.4f} | {e.val_loss_nats:.4f} | "
            f"{e.steps_per_second:,.0f} | {e.peak_memory_mb:,.0f} |",
            flush=True,
        )
        epochs.append(dataclasses.asdict(e))
        if args.json:
            args.json.write_text(json.dumps({"status": "running", "epochs": epochs}, indent=1))

    with tempfile.TemporaryDirectory() as folder:  # with the checkpoints that a search writes
        started = time.perf_counter()
        result = train(
            config,
            corpus,
            device=args.device,
            checkpoint_dir=Path(folder),
            hooks=Hooks(on_epoch=show),
        )
        seconds = time.perf_counter() - started
    print(f"{result.device.name}: {result.status}, {result.steps:,} steps in {seconds:.1f} s")
    timing = dataclasses.asdict(result.timing)
    print("; ".join(f"{name.removesuffix('_seconds')} {s:.1f} s" for name, s in timing.items()))
    if args.json:
        fields = dataclasses.asdict(result) | {"wall_seconds": seconds, "config": config.to_dict()}
        args.json.write_text(json.dumps(fields, indent=1))
    return 0 if result.status == "complete" else 1


if __name__ == "__main__":
    run_command(main)
