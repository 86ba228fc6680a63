"""Runs of several lengths from one trunk, against each from its start: equal, and at what price.

python tests/benchmarks/training/trunk.py --tokens 20000                 # 1, 2, 4 and 8 epochs
python tests/benchmarks/training/trunk.py --tokens 1000 --embed-dim 16   # in seconds

Exits with status 1 if a number of an epoch's record, but for clocks and memory, is not equal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")

import torch

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_precision
from minigpt_search.model.records import EpochRecord
from minigpt_search.model.training.train import Hooks, TrainResult, train
from minigpt_search.model.training.trunk import train_branches
from minigpt_search.search.space.presets import QUICK

CLOCKS = {"wall_seconds", "steps_per_second", "peak_memory_mb"}


def numbers(epochs: tuple[EpochRecord, ...]) -> list[dict[str, float]]:
    return [{k: v for k, v in vars(epoch).items() if k not in CLOCKS} for epoch in epochs]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", default="1,2,4,8")
    parser.add_argument("--tokens", type=int, default=20_000, help="of an epoch (20000)")
    parser.add_argument("--embed-dim", type=int, default=128)
    parser.add_argument("--corpus", default="builtin")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus = open_corpus(artifacts_root() / "corpus" / args.corpus)
    base = QUICK.replace(
        schedule="wsd",
        embed_dim=args.embed_dim,
        tokens_per_epoch=args.tokens,
        precision=best_precision("cpu"),
    )
    configs = [base.replace(epochs=int(epochs)) for epochs in args.epochs.split(",")]
    branches = _from_one_trunk(configs, corpus)
    scratch = [train(config, corpus) for config in configs]
    print("| epochs | validation loss, nats | equal to the bit | steps taken over |")
    print("|---:|---:|---|---:|")
    equal = [
        numbers(branch.epochs) == numbers(alone.epochs)
        for branch, alone in zip(branches, scratch, strict=True)
    ]
    for config, branch, same in zip(configs, branches, equal, strict=True):
        loss = branch.epochs[-1].val_loss_nats
        taken = f"{branch.trunk_steps:,} of {branch.steps:,}"
        print(f"| {config.train.epochs} | {loss:.6f} | {'yes' if same else 'NO'} | {taken} |")
    paid = sum(b.steps - b.trunk_steps for b in branches), sum(a.steps for a in scratch)
    seconds = (
        sum(b.timing.total() - b.trunk_seconds for b in branches),
        sum(a.timing.total() for a in scratch),
    )
    print(f"\nSteps {paid[0]:,} instead of {paid[1]:,} ({paid[0] / paid[1]:.1%})")
    print(f"Seconds {seconds[0]:.1f} instead of {seconds[1]:.1f} ({seconds[0] / seconds[1]:.1%})")
    return 0 if all(equal) else 1


def _from_one_trunk(configs: list[RunConfig], corpus: Corpus) -> list[TrainResult]:
    """The results in the order of the configurations."""
    with tempfile.TemporaryDirectory() as home:
        folders = [Path(home, str(number)) for number in range(len(configs))]
        pairs = train_branches(
            configs,
            corpus,
            device="cpu",
            checkpoint_dirs=folders,
            checkpoint_every_seconds=1e9,
            hooks=[Hooks()] * len(configs),
        )
        results = dict(pairs)
    return [results[number] for number in range(len(configs))]


if __name__ == "__main__":
    sys.exit(main())
