"""The recipe's longest run on a GPU: the `full` preset for 10 epochs, validated after each.

python tests/benchmarks/gpu/long_run.py --json long_run.json
python tests/benchmarks/gpu/long_run.py --uncompiled               # each step a graph, no Inductor
python tests/benchmarks/gpu/long_run.py --quick --device cpu       # seconds: does it work at all?
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from json_file import write_json
from synthetic_corpus import VOCAB_SIZE, write_synthetic_corpus

from minigpt_search.data.common.errors import run_command
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_precision
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import EpochRecord
from minigpt_search.model.training import loop
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.train import train


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts: the corpus")
    parser.add_argument("--uncompiled", action="store_true", help="though the run is long")
    parser.add_argument("--quick", action="store_true", help="a tiny model and corpus, two epochs")
    args = parser.parse_args()
    config = RunConfig().replace(epochs=10, precision=best_precision(args.device))
    root = artifacts_root(args.out)
    with tempfile.TemporaryDirectory() as temporary:
        corpus, home = root / "corpus" / "builtin", Path(temporary)  # for a search's checkpoints
        if args.quick:
            config = config.replace(embed_dim=16, vocab_size=VOCAB_SIZE, warmup_steps=20, epochs=2)
            corpus = home / "corpus"
            write_synthetic_corpus(corpus, train_tokens=80_000, eval_tokens=700)
        return train_and_tell(config, corpus, home, args)


def train_and_tell(config: RunConfig, folder: Path, home: Path, args: argparse.Namespace) -> int:
    """Train on the corpus in `folder` with checkpoints in `home`; the exit status."""
    compiled: list[bool] = []

    def compile_blocks(model: GPT, config: RunConfig) -> bool:
        compiled.append(compiled_blocks(model, config))
        return compiled[-1]

    compiled_blocks, rule = loop.compile_blocks, loop.is_compiled
    never = (lambda *_, **__: False) if args.uncompiled else rule
    corpus = open_corpus(folder)
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
            write_json(args.json, {"status": "running", "epochs": epochs})

    started = time.perf_counter()
    with (
        mock.patch.object(loop, "is_compiled", never),
        mock.patch.object(loop, "compile_blocks", compile_blocks),
    ):
        hooks = Hooks(on_epoch=show)
        result = train(config, corpus, device=args.device, checkpoint_dir=home, hooks=hooks)
    seconds = time.perf_counter() - started
    print(f"{result.device.name}: {result.status}, {result.steps:,} steps in {seconds:.1f} s")
    print("Blocks:", {(): "not compiled", (True,): "compiled"}.get(tuple(compiled), "FAILED"))
    timing = dataclasses.asdict(result.timing)
    print("; ".join(f"{name.removesuffix('_seconds')} {s:.1f} s" for name, s in timing.items()))
    if args.json:
        fields = dataclasses.asdict(result) | {"wall_seconds": seconds, "config": config.to_dict()}
        fields["compiled"] = compiled == [True]
        write_json(args.json, fields)
    return 0 if result.status == "complete" else 1


if __name__ == "__main__":
    run_command(main)
