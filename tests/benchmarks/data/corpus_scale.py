"""What the one process that decides about a large corpus needs: memory, time, disk (Linux).

    python tests/benchmarks/data/corpus_scale.py                # 475M tokens: minutes, 3 GB of disk
    python tests/benchmarks/data/corpus_scale.py --tokens 1e7     # as the built-in corpus: seconds

No text: made-up digests, signatures and tokens of as many documents go through the code of
`data/pipeline/build.py` that sees all of them: repeats, the table, near-duplicates, splits,
segments. They come as shards of 16 MB of text do from the workers of a cluster. Some documents are
near-copies of the one before, which is what costs memory in the search for near-duplicates.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from process_memory import memory_of

from minigpt_search.data.common.documents import Source
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.filtering.annotate import AnnotatedBatch
from minigpt_search.data.filtering.exact_duplicates import Digests, RepeatFilter
from minigpt_search.data.filtering.near_duplicates import PERMUTATIONS, first_of_each
from minigpt_search.data.splitting.document_table import DocumentTable
from minigpt_search.data.splitting.write_splits import write_splits
from minigpt_search.data.tokenizers.gpt2 import VOCAB_SIZE, get_encoding

CHANGED = 0.15
"""Of a near-copy's signature."""


class Meter:
    """Peak of this process' own memory, and seconds, by stage."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self._peak, self._over = 0, False
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def _sample(self) -> None:
        own = psutil.Process()
        while not self._over:
            self._peak = max(self._peak, memory_of(own).own)
            time.sleep(0.01)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._peak, started = 0, time.perf_counter()
        yield
        self._peak = max(self._peak, memory_of(psutil.Process()).own)
        row = {"seconds": round(time.perf_counter() - started, 1), "peak_mb": self._peak // 10**6}
        self.rows[name] = row
        print(f"{name:16} {row['seconds']:7.1f} s  {row['peak_mb']:6.0f} MB", flush=True)

    def end(self) -> None:
        self._over = True
        self._sampler.join()


def main() -> None:
    """Make it up, send it through, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=float, default=475e6)
    parser.add_argument("--document", type=int, default=540, help="tokens in one (default: 540)")
    parser.add_argument("--paragraphs", type=int, default=6, help="long ones in a document")
    parser.add_argument("--near-copies", type=float, default=0.1, help="share of the documents")
    parser.add_argument("--json", help="write the numbers here")
    args = parser.parse_args()
    documents = int(args.tokens / args.document)
    print(f"{documents:,} documents of {args.document} tokens, {args.paragraphs} long paragraphs")
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="mg-scale-") as temporary:
        disk = run(Path(temporary), documents, args, meter)
    meter.end()
    print(f"disk {disk / 1e6:.0f} MB")
    if args.json:
        numbers = {"tokens": int(args.tokens), "documents": documents, "disk_bytes": disk}
        Path(args.json).write_text(json.dumps(numbers | {"stages": meter.rows}, indent=1) + "\n")


def run(folder: Path, documents: int, args: argparse.Namespace, meter: Meter) -> int:
    """All stages; returns the bytes on disk at the end."""
    generator = np.random.default_rng(0)
    per_shard = 16_000_000 // (4 * args.document)  # about 4.4 bytes a token, and the tags
    counts = [min(per_shard, documents - done) for done in range(0, documents, per_shard)]
    root = artifacts_root(None)
    encoding = get_encoding(root)
    # words of four bytes, so that the tokens are those of some text of a known size
    texts = map(encoding.decode_single_token_bytes, range(VOCAB_SIZE - 1))
    words = np.array([k for k, text in enumerate(texts) if len(text) == 4 and text.isascii()])
    (folder / "spool").mkdir()
    with DocumentTable(folder / "spool") as table:
        with meter.stage("imports"):
            pass
        with meter.stage("repeats"):
            repeats = RepeatFilter(range(9))
            for count in counts:
                repeats.decide(digests(generator, count, args.paragraphs))
            del repeats
        with meter.stage("table"):
            for count in counts:
                first = len(table)
                table.append(annotated(generator, first, count, words, args))
            table.flush()
        with meter.stage("near-duplicates"):
            new = first_of_each(table.signatures())
        with meter.stage("splits, segments"):
            kept = np.flatnonzero(new & (table.verdicts == 0))
            source = Source(
                name="made up", title="", kind="user", form="plain", read=lambda: iter(()), group=0
            )
            progress = Progress(quiet=True)
            written = write_splits(CorpusSpec(), root, folder, table, kept, [source], progress)
    tokens = sum(split.tokens for split in written.splits.values())
    print(f"{1 - new.mean():.1%} of the documents are near-duplicates; {tokens:,} tokens written")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def digests(generator: np.random.Generator, count: int, paragraphs: int) -> Digests:
    """Of a shard, nothing in it repeated."""
    return Digests(
        documents=np.frombuffer(generator.bytes(16 * count), "S16"),
        paragraphs=generator.integers(0, 2**64, paragraphs * count, np.uint64),
        counts=np.full(count, paragraphs),
    )


def annotated(
    generator: np.random.Generator,
    first: int,
    count: int,
    words: np.ndarray,
    args: argparse.Namespace,
) -> AnnotatedBatch:
    """Of a shard whose documents have the numbers from `first` on."""
    length = args.document
    rows: Any = generator.integers(0, 2**32, (count, PERMUTATIONS), np.uint32)
    copies = np.flatnonzero(generator.random(count - 1) < args.near_copies) + 1
    kept = generator.random((len(copies), PERMUTATIONS)) >= CHANGED
    rows[copies] = np.where(kept, rows[copies - 1], rows[copies])
    return AnnotatedBatch(
        sources=[0] * count,
        numbers=list(range(first, first + count)),
        failed=[""] * count,
        order_keys=generator.integers(0, 2**64, count, np.uint64),
        text_bytes=np.full(count, 4 * length),
        characters=np.full(count, 4 * length),
        signatures=rows,
        lengths=np.full(count, length),
        tokens=generator.choice(words, count * length).astype(np.uint16),
        samples=[],
        cpu_seconds={},
    )


if __name__ == "__main__":
    main()
