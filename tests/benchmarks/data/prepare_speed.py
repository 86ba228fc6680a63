"""Seconds and megabytes a second of preparing a corpus by stage, beside tiktoken's own rate.

python tests/benchmarks/data/prepare_speed.py                   # the built-in corpus, three repeats
python tests/benchmarks/data/prepare_speed.py --quick            # one small source, once

Stages: the pipeline in one process, each stage's seconds noted by a wrapper around it. Then four
that take turns, each once a round. Whole: the command in a fresh folder on all cores, archives
already downloaded. Empty: the same with nothing downloaded. Download: the archives and the
tokenizer's files into an empty folder, nothing else. Floor: `encode_ordinary_batch` of the
documents that were kept, on all cores, without loading the encoding. Medians are given, and the
lowest of each, because other programs on the machine can only add to them. MB are of kept text,
UTF-8.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path[0] = str(ROOT / "src")

from minigpt_search.data.common.downloads import Downloads  # noqa: E402
from minigpt_search.data.common.machine import usable_cores  # noqa: E402
from minigpt_search.data.common.paths import artifacts_root  # noqa: E402
from minigpt_search.data.common.progress import Progress  # noqa: E402
from minigpt_search.data.corpus.corpus import verify_corpus  # noqa: E402
from minigpt_search.data.corpus.manifest import Manifest, read_manifest  # noqa: E402
from minigpt_search.data.corpus.spec import CorpusSpec  # noqa: E402
from minigpt_search.data.filtering.exact_duplicates import RepeatFilter  # noqa: E402
from minigpt_search.data.pipeline import build  # noqa: E402
from minigpt_search.data.sources.resolve import resolve_sources  # noqa: E402
from minigpt_search.data.tokenizers.gpt2 import SEPARATOR_TOKEN, bpe_files, get_encoding  # noqa: E402

QUICK_SOURCE = "builtin:c4"


class Stopwatch:
    """Seconds by stage, summed over calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def call(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[stage] += time.perf_counter() - started

        return timed

    def items(self, stage: str, function: Callable[[], Iterator[Any]]) -> Callable[[], Any]:
        """A function that gives an iterator, timed while it is asked for items."""

        def timed() -> Iterator[Any]:
            following = self.call(stage, iter(function()).__next__)
            while True:
                try:
                    item = following()
                except StopIteration:
                    return
                yield item

        return timed


def time_stages(spec: CorpusSpec, root: Path) -> dict[str, float]:
    """Prepare in this process alone, and give the seconds of each stage."""
    watch = Stopwatch()

    def timed_sources(*arguments: Any) -> Any:
        sources = watch.call("check archives", resolve_sources)(*arguments)  # all are there
        return [replace(each, read=watch.items("read, extract", each.read)) for each in sources]

    started = time.perf_counter()
    with (
        patch.object(build, "resolve_sources", timed_sources),
        patch.object(build, "write_splits", watch.call("split and write", build.write_splits)),
        patch.object(RepeatFilter, "_new_parts", watch.call("exact duplicates", _new_parts)),
    ):
        folder = build.prepare_corpus(spec, root, quiet=True, workers=1)
    whole = time.perf_counter() - started
    watch.call("verify (--verify)", verify_corpus)(folder)
    manifest, seen = read_manifest(folder), watch.seconds
    work, walls = manifest.cpu_seconds, manifest.stage_seconds
    stages = {
        "check archives": seen["check archives"],
        "read, extract": seen["read, extract"],
        "clean": work["clean"],
        "exact duplicates": seen["exact duplicates"],
        "look up words": work["words"],
        "MinHash": work["minhash"],
        "quality rules": work["quality"],
        "encode": work["encode"],
        "duplicates": walls["duplicates"],
        "split, encode excerpts": seen["split and write"] - walls["write"],
        "write, hash, sync": walls["write"],
    }
    rest = whole - sum(stages.values())
    return {**stages, "the rest": rest, "verify (--verify)": seen["verify (--verify)"]}


_new_parts = RepeatFilter._new_parts


def kept_texts(folder: Path, manifest: Manifest, root: Path) -> list[str]:
    """The documents of a corpus, decoded."""
    encoding = get_encoding(root)
    texts = []
    for split in manifest.splits.values():
        tokens = np.concatenate([torch.load(folder / file.name).numpy() for file in split.files])
        ends = np.append(np.flatnonzero(tokens == SEPARATOR_TOKEN), len(tokens))
        for start, end in zip([0, *(ends[:-1] + 1)], ends, strict=True):
            texts.append(encoding.decode(tokens[start:end].tolist()))
    return [text for text in texts if text]


def run_command(spec: CorpusSpec, root: Path) -> Manifest:
    """What `python data/prepare.py` makes of `spec`."""
    command = [sys.executable, str(ROOT / "data" / "prepare.py"), "--out", str(root), "--quiet"]
    subprocess.run(
        [*command, "--name", spec.name, "--source", *spec.sources], check=True, cwd=Path.cwd()
    )
    return read_manifest(root / "corpus" / spec.name)


def download(spec: CorpusSpec, root: Path) -> None:
    """Fetch what `spec` needs and is not there."""
    with Downloads(root / "downloads", Progress(quiet=True)) as downloads:
        resolve_sources(spec, downloads, root)
        bpe_files(root)


class Turns:
    """Wall-clock and processor seconds (of all processes) by kind of run, one of each a round."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = defaultdict(list)
        self.processor: dict[str, list[float]] = defaultdict(list)

    def time(self, kind: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` gives, timed."""
        started, before = time.perf_counter(), sum(os.times()[:4])
        result = function(*arguments)
        self.wall[kind].append(time.perf_counter() - started)
        self.processor[kind].append(sum(os.times()[:4]) - before)
        return result


def take_turns(
    spec: CorpusSpec, root: Path, texts: list[str], content_hash: str, repeats: int
) -> tuple[Turns, Manifest]:
    """The seconds of each kind of run, and what the last whole run made."""
    turns, encoding = Turns(), get_encoding(root)
    floor = partial(encoding.encode_ordinary_batch, num_threads=usable_cores())
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as other:
            made = turns.time("whole", run_command, replace(spec, name=f"whole-{repeat}"), root)
            again = turns.time("empty", run_command, spec, Path(empty))
            assert made.content_hash == again.content_hash == content_hash
            turns.time("download", download, spec, Path(other))
        turns.time("floor", floor, texts)
    return turns, made


def measure(source: str, downloads: Path, repeats: int) -> dict[str, Any]:
    """All numbers, as they stand in `--json`; `downloads` holds, or gets, the archives."""
    result: dict[str, Any] = {"source": source, "cores": usable_cores(), "repeats": repeats}
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "downloads").symlink_to(downloads, target_is_directory=True)
        spec = CorpusSpec(name="stages", sources=(source,))
        download(spec, root)
        result["stage_seconds_one_process"] = time_stages(spec, root)

        folder = root / "corpus" / "stages"
        manifest = read_manifest(folder)
        texts = kept_texts(folder, manifest, root)
        turns, made = take_turns(spec, root, texts, manifest.content_hash, repeats)
        result["stage_seconds_all_cores"] = made.stage_seconds
        result["cpu_seconds_all_cores"] = made.cpu_seconds
    result["content_hash"] = manifest.content_hash
    result["megabytes"] = sum(split.bytes for split in manifest.splits.values()) / 1e6
    result["seconds"], result["processor_seconds"] = turns.wall, turns.processor
    for name, values in (("median", statistics.median), ("lowest", min)):
        taken = {kind: values(own) for kind, own in turns.wall.items()}
        result[name] = {
            **taken,
            "whole_to_floor": taken["whole"] / taken["floor"],
            "empty_less_download_to_floor": (taken["empty"] - taken["download"]) / taken["floor"],
        }
    return result


def table(result: dict[str, Any]) -> str:
    """The numbers as a Markdown table."""
    rows = [(f"{name}, one core", s) for name, s in result["stage_seconds_one_process"].items()]
    cores, median = f"{result['cores']} cores", result["median"]
    rows += [
        (f"whole command, archives there, {cores}", median["whole"]),
        (f"whole command, empty folder, {cores}", median["empty"]),
        ("download alone", median["download"]),
        (f"floor: tiktoken batch, {cores}", median["floor"]),
    ]
    lines = ["| stage | seconds | MB/s |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {s:.2f} | {result['megabytes'] / max(s, 1e-9):,.1f} |" for name, s in rows
    ]
    lines.append(f"\n{result['megabytes']:.1f} MB kept, {result['repeats']} rounds.")
    processor = {kind: statistics.median(own) for kind, own in result["processor_seconds"].items()}
    lines.append(
        "processor seconds: " + ", ".join(f"{kind} {s:.2f}" for kind, s in processor.items())
    )
    for name in ("median", "lowest"):
        own = result[name]
        lines.append(
            f"{name}: whole {own['whole']:.2f} s / floor {own['floor']:.2f} s = "
            f"{own['whole_to_floor']:.2f}; (empty {own['empty']:.2f} s - download "
            f"{own['download']:.2f} s) / floor = {own['empty_less_download_to_floor']:.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", help="as of data/prepare.py (default: builtin)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--quick", action="store_true", help=f"once, {QUICK_SOURCE} if no --source")
    parser.add_argument("--folder", help="root whose downloads/ is used, as --out of prepare.py")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the numbers there too")
    arguments = parser.parse_args()
    source = arguments.source or (QUICK_SOURCE if arguments.quick else "builtin")
    downloads = artifacts_root(arguments.folder) / "downloads"
    result = measure(source, downloads.resolve(), 1 if arguments.quick else arguments.repeats)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
