"""Training from a corpus larger than the memory that the process may use (Linux, as root).

    python tests/benchmarks/data/beyond_memory.py                     # 2 GB in 0.4 GB: five minutes
    python tests/benchmarks/data/beyond_memory.py --tokens 2e7 --seconds 2 --sequences 2000

Writes a corpus of made-up tokens in eight segments. Then twice, each time in a process of its own,
without a limit and the corpus in the page cache, and with a limit and nothing of it there: takes
batches of 32 sequences in the random order of an epoch, and trains a small model for three epochs
with `model.training.train`, on sequences spread evenly over all segments. The limit is a control
group's, which counts the pages of mapped files as well. The model is so small that reading is a
large part of it. Once more with the limit batches are taken without the advice to the kernel in
`data/corpus/dataset.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from memory_group import MemoryGroup
from synthetic_corpus import VOCAB_SIZE, write_synthetic_corpus

BATCH, SEQ_LEN, SEGMENTS, EPOCHS = 32, 64, 8, 3


def main() -> int:
    """Write the corpus, train without a limit and with it, print."""
    args = parse_arguments()
    if args.child:
        print(json.dumps(child(Path(args.child), args)))
        return 0
    with tempfile.TemporaryDirectory(prefix="mg-beyond-", dir=args.folder) as temporary:
        corpus = Path(temporary) / "corpus"
        write_synthetic_corpus(corpus, int(args.tokens), 20_000, SEGMENTS)
        size = sum(path.stat().st_size for path in corpus.glob("*.pt"))
        limit = int(args.limit_mb * 1e6)
        rows = {
            "no limit": measure(corpus, None, args),
            "limit": measure(corpus, limit, args),
            "limit, read around": measure(corpus, limit, args, "--read-around"),
        }
    print(f"corpus {size / 1e6:.0f} MB, limit {args.limit_mb:.0f} MB")
    for name, row in rows.items():
        print(f"{name:18}", json.dumps(row))
    same = rows["limit"]["losses"] == rows["no limit"]["losses"]
    print("the same losses" if same else "OTHER LOSSES")
    numbers = {"corpus_bytes": size, "limit_bytes": limit, "rows": rows}
    if args.json:
        Path(args.json).write_text(json.dumps(numbers, indent=1) + "\n")
    return int(not same)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=float, default=1e9, help="of the corpus, 2 bytes each")
    parser.add_argument("--limit-mb", type=float, default=400)
    parser.add_argument("--seconds", type=float, default=30, help="of taking batches")
    parser.add_argument("--sequences", type=int, default=80_000, help="in an epoch of training")
    parser.add_argument("--folder", help="where the corpus is written for a while")
    parser.add_argument("--json", help="write the numbers here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--read-around", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(
    corpus: Path, limit: int | None, args: argparse.Namespace, *options: str
) -> dict[str, Any]:
    """One process, on a corpus that is on disk alone, or in the cache if there is no limit."""
    for path in corpus.iterdir():
        with path.open("rb") as file:
            if limit is None:
                hashlib.file_digest(file, "sha256")  # as a search does before it starts
            else:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    words = ["--child", str(corpus), "--seconds", str(args.seconds)]
    words += ["--sequences", str(args.sequences), *options]
    with MemoryGroup(limit) as group:
        done = subprocess.run(
            [sys.executable, __file__, *words],
            stdout=subprocess.PIPE,
            check=False,
            preexec_fn=lambda: group.door.write_text(str(os.getpid())) and None,
        )
        if done.returncode:
            raise SystemExit(f"with {limit} bytes: ended with status {done.returncode}")
        row: dict[str, Any] = json.loads(done.stdout)
        return row | {"group_peak_mb": round(group.peak_bytes() / 1e6)}


def child(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """In a group of its own."""
    import torch

    from minigpt_search.data.corpus import dataset as dataset_module
    from minigpt_search.data.corpus.corpus import open_corpus
    from minigpt_search.model.batching.order import epoch_order
    from minigpt_search.model.batching.source import batch_source

    torch.set_num_threads(1)
    if args.read_around:
        dataset_module._expect_random_reads = lambda segment: None
    corpus = open_corpus(folder)
    before = memory()
    dataset = corpus.dataset("train", SEQ_LEN)
    source = batch_source(dataset, "cpu")
    order = epoch_order(len(dataset), seed=0, epoch=1)
    started, faults, read, taken = time.perf_counter(), major_faults(), bytes_read(), 0
    for start in range(
        0, len(order), BATCH
    ):  # as model/training/loop.py: a list of batches is large
        indices = order[start : start + BATCH]
        source.batch(indices)
        taken += len(indices)
        if time.perf_counter() - started > args.seconds:
            break
    seconds = time.perf_counter() - started
    row = {
        "sequences": len(dataset),
        "taken": taken,
        "sequences_per_second": round(taken / seconds),
        "faults_per_sequence": round((major_faults() - faults) / taken, 4),
        "read_mb": round((bytes_read() - read) / 1e6),
        "own_before_mb": before["RssAnon"],
        "own_after_batches_mb": memory()["RssAnon"],
        "order_mb": round(order.nbytes / 1e6),
    }
    if args.read_around:
        return row
    return {
        **row,
        **train_small(folder, args.sequences),
        "own_after_training_mb": memory()["RssAnon"],
        "mapped_after_training_mb": memory()["RssFile"],
    }


def train_small(folder: Path, sequences: int) -> dict[str, Any]:
    """`EPOCHS` of `sequences` (at most all there are) of the project's own training."""
    from minigpt_search.data.corpus.corpus import open_corpus
    from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
    from minigpt_search.model.training.train import train

    started, faults, read = time.perf_counter(), major_faults(), bytes_read()
    model = ModelConfig(
        vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, embed_dim=16, n_layers=1, n_heads=2, dropout=0.0
    )
    length = TrainConfig(
        batch_size=BATCH,
        epochs=EPOCHS,
        tokens_per_epoch=sequences * SEQ_LEN,
        warmup_steps=20,
        lr_peak=1e-2,
    )
    result = train(RunConfig(model=model, train=length), open_corpus(folder))
    return {
        "losses": [epoch.train_loss_nats for epoch in result.epochs],
        "steps": result.steps,
        "steps_per_second": [round(epoch.steps_per_second, 1) for epoch in result.epochs],
        "training_seconds": round(time.perf_counter() - started, 1),
        "training_faults": major_faults() - faults,
        "training_read_mb": round((bytes_read() - read) / 1e6),
    }


def major_faults() -> int:
    """Pages that had to come from the disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def bytes_read() -> int:
    """From the disk, for this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(":") for line in lines)["read_bytes"])


def memory() -> dict[str, int]:
    """Of this process in MB: RssAnon (its own) and RssFile (pages of mapped files)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 // 10**6 for name in ("RssAnon", "RssFile")}


if __name__ == "__main__":
    sys.exit(main())
