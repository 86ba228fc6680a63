"""The same corpus made on one machine and on a Ray cluster: its bytes, time and memory (Linux).

    python tests/benchmarks/data/corpus_cluster.py 100           # megabytes: ten minutes on 2 cores
    python tests/benchmarks/data/corpus_cluster.py 2 --quick       # small shards: a minute or two
    python tests/benchmarks/data/corpus_cluster.py 25 --only one-process,one-node

On one process, on all cores, on one node, on several, on several of which one is killed, and with
the command itself killed while it cleans and again while it measures. Exit status 1 if any of these
makes another corpus, or makes again what was finished before the kill. The nodes share this
machine's cores, so times past that many nodes say nothing but that they do no harm.

Memory is the highest of samples: anonymous pages, and all resident pages, shared ones by share.
Processor time is that of the work on documents, whoever did it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from corpus_text import write_texts
from process_memory import Memory, memory_of
from ray_nodes import RayNodes

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.manifest import Manifest, read_manifest
from minigpt_search.data.tokenizers.gpt2 import bpe_files

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from minigpt_search.data.pipeline.cluster import Cluster
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.build import prepare_corpus
given = json.loads(sys.argv[2])
cluster = given["cluster"]
if cluster:
    cluster = Cluster(**cluster | {"work": Path(cluster["work"])})
spec = CorpusSpec(name=given["name"], sources=(given["source"],))
prepare_corpus(spec, Path(given["root"]), True, given["workers"], cluster)
"""
TIMES = {"created_at", "stage_seconds", "cpu_seconds", "name", "options"}
"""What may differ between two manifests of one corpus (here each has a name of its own)."""

RUNS = (
    "one-process",
    "all-cores",
    "one-node",
    "several-nodes",
    "killed-and-resumed",
    "a-node-killed",
)
SAMPLE_SECONDS = 0.25
"""Between looks at the memory: with all processes of this machine to go through, more often would
take a noticeable part of its time."""


class Bench:
    """Preparations of one folder of text, each under its own name below one root."""

    def __init__(self, folder: Path, source: Path, shard_bytes: int) -> None:
        self.root, self.source, self.shard_bytes = folder, source, shard_bytes
        self.rows: dict[str, dict[str, Any]] = {}
        self.first: Manifest | None = None

    def run(
        self,
        name: str,
        workers: int | None = None,
        nodes: RayNodes | None = None,
        kill: str | None = None,
        resume: bool = False,
    ) -> None:
        """Prepare and measure. `kill` is "node", or the stage in which the command is to die."""
        given = {"name": name, "source": str(self.source), "root": str(self.root)}
        cluster = nodes and {
            "address": nodes.address,
            "work": str(self.root / "work"),
            "shard_bytes": self.shard_bytes,
        }
        words = json.dumps({**given, "workers": workers, "cluster": cluster})
        environment = nodes.environment if nodes else dict(os.environ)
        finished = self._finished(name) if resume else {}
        started = time.perf_counter()
        running = subprocess.Popen(
            [sys.executable, "-c", CODE, str(ROOT / "src"), words], env=environment, cwd=self.root
        )
        command, worker, remade, sampled = Memory(), Memory(), 0, 0.0
        while running.poll() is None:
            if time.perf_counter() - sampled >= SAMPLE_SECONDS:
                sampled = time.perf_counter()
                command = command.raised_to(memory_of(psutil.Process(running.pid)))
                others = nodes.processes() if nodes else psutil.Process(running.pid).children(True)
                for each in others:
                    if not nodes or _is_worker(each):
                        worker = worker.raised_to(memory_of(each))
            now = self._finished(name)
            remade = max(
                remade, sum(now.get(path, inode) != inode for path, inode in finished.items())
            )
            if kill == "node" and nodes and any("cleaned" in path for path in now):
                nodes.kill(0)
                kill = None
            elif kill and any(kill in path for path in now):
                running.send_signal(signal.SIGKILL)
                running.wait()
                if remade:
                    raise SystemExit(f"{name}: made {remade} finished files again")
                return
            time.sleep(0.05)
        if running.returncode:
            raise SystemExit(f"{name}: the preparation ended with status {running.returncode}")
        self._note(name, time.perf_counter() - started, command, worker, len(finished), remade)

    def _finished(self, name: str) -> dict[str, int]:
        """The shards' files that are there, by name, and what tells whether one was made again."""
        found = {}
        for path in (self.root / "work" / f"{name}.shards").glob("*/*.npz"):
            try:
                found[path.name] = path.stat().st_ino
            except FileNotFoundError:  # the preparation has ended
                continue
        return {name: inode for name, inode in found.items() if not name.startswith("raw")}

    def _note(
        self,
        name: str,
        seconds: float,
        command: Memory,
        worker: Memory,
        finished: int,
        remade: int,
    ) -> None:
        manifest = read_manifest(self.root / "corpus" / name)
        self.first = self.first or manifest
        ours, theirs = manifest.to_dict(), self.first.to_dict()
        differ = [key for key in theirs if key not in TIMES and ours[key] != theirs[key]]
        self.rows[name] = {
            "seconds": round(seconds, 1),
            "command_mb": round(command.own / 1e6),
            "command_resident_mb": round(command.resident / 1e6),
            "largest_worker_mb": round(worker.own / 1e6),
            "largest_worker_resident_mb": round(worker.resident / 1e6),
            "content_hash": manifest.content_hash,
            "tokens": sum(split.tokens for split in manifest.splits.values()),
            "documents_in": manifest.documents_in,
            "cpu_seconds": round(sum(manifest.cpu_seconds.values()), 1),
            "stage_seconds": manifest.stage_seconds,
            "differs_in": differ,
            "files_before": finished,
            "files_made_again": remade,
        }
        print(
            f"{name:24} {seconds:6.1f} s  command {command.own / 1e6:5.0f} MB, largest worker "
            f"{worker.own / 1e6:5.0f} MB  {manifest.content_hash[:12]}  "
            f"{'DIFFERS: ' + ', '.join(differ) if differ else 'the same'}"
            + (f"  {finished} files kept, {remade} made again" if finished else ""),
            flush=True,
        )


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any(word.startswith("ray::") for word in process.cmdline()[:1])
    except psutil.Error:
        return False


def measure(bench: Bench, several: int, only: set[str]) -> None:
    """Those preparations (all, if none is named), one after another."""

    def is_wanted(*names: str) -> bool:
        return not only or bool(only & set(names))

    if is_wanted("one-process"):
        bench.run("one-process", workers=1)
    if is_wanted("all-cores"):
        bench.run("all-cores")
    if not is_wanted(*RUNS[2:]):
        return
    with RayNodes() as nodes:
        nodes.add()
        if is_wanted("one-node"):
            bench.run("one-node", nodes=nodes)
        if not is_wanted(*RUNS[3:]):
            return
        for _ in range(several - 1):
            nodes.add()
        if is_wanted("several-nodes"):
            bench.run("several-nodes", nodes=nodes)
        if is_wanted("killed-and-resumed"):
            for stage in ("cleaned", "annotated"):
                bench.run("killed-and-resumed", nodes=nodes, kill=stage, resume=stage != "cleaned")
            bench.run("killed-and-resumed", nodes=nodes, resume=True)
        if is_wanted("a-node-killed"):
            bench.run("a-node-killed", nodes=nodes, kill="node")


def main() -> int:
    """Generate, prepare, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("megabytes", type=float)
    parser.add_argument("--nodes", type=int, default=3, help="with one core each")
    parser.add_argument("--only", default="", help=f"some of {','.join(RUNS)}")
    parser.add_argument("--quick", action="store_true", help="shards of 0.2 MB, not 16")
    parser.add_argument("--folder", help="where downloads are (default: MINIGPT_HOME)")
    parser.add_argument("--json", help="write the numbers here")
    arguments = parser.parse_args()
    downloads = artifacts_root(arguments.folder) / "downloads"
    bpe_files(downloads.parent)
    with tempfile.TemporaryDirectory(prefix="mg-corpus-") as temporary:
        folder = Path(temporary)
        (folder / "downloads").symlink_to(downloads, target_is_directory=True)
        write_texts(folder / "texts", arguments.megabytes)
        bench = Bench(folder, folder / "texts", 200_000 if arguments.quick else 16_000_000)
        measure(bench, arguments.nodes, set(filter(None, arguments.only.split(","))))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(bench.rows, indent=1))
    return int(any(row["differs_in"] or row["files_made_again"] for row in bench.rows.values()))


if __name__ == "__main__":
    sys.exit(main())
