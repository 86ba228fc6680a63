"""The same grid on this machine and on Ray nodes: the same ledger, and what the cluster costs.

    python tests/benchmarks/search/cluster_search.py 1 2 3              # the quick grid: 10 minutes
    python tests/benchmarks/search/cluster_search.py 2 --corpus small --search "--embed-dim 16"

Nodes are processes of this machine with one core each (`ray_nodes.py`), so that more of them than
it has cores only show that the numbers stay the same. The corpus must be in $MINIGPT_HOME.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from ray_nodes import RayNodes

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.model.hardware.device import hardware
from minigpt_search.search.records.ledger import Ledger

RUN = Path(__file__).resolve().parents[3] / "search" / "run.py"


def main() -> int:
    """Run, compare, print. 1 if any number differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nodes", type=int, nargs="+", help="how many, one search each")
    parser.add_argument("--corpus", default="builtin", help="a prepared one (builtin)")
    parser.add_argument("--search", default="", metavar="FLAGS", help="more flags of the search")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    args = parser.parse_args()
    words = ["--grid", "lr", "--preset", "quick", "--cpus-per-trial", "1", "--corpus", args.corpus]
    words += shlex.split(args.search)
    rows = [measure(words, args.corpus, count) for count in [0, *args.nodes]]
    alone = rows[0]["losses"]
    for row in rows:
        row["same"] = row.pop("losses") == alone
    print("\n".join(table(rows)))
    if args.json is not None:
        args.json.write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=1) + "\n")
    return 0 if all(row["same"] for row in rows) else 1


def measure(words: list[str], corpus: str, count: int) -> dict[str, Any]:
    """One search on so many nodes; 0: on this machine without a cluster."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-search-")))
        (folder / "corpus").mkdir()
        shutil.copytree(artifacts_root() / "corpus" / corpus, folder / "corpus" / corpus)
        (folder / "downloads").symlink_to(artifacts_root() / "downloads")
        environment: dict[str, str] = dict(os.environ)
        more: list[str] = []
        if count:
            nodes = stack.enter_context(RayNodes())
            for _ in range(count):
                nodes.add()
            environment = nodes.environment
            more = ["--address", nodes.address, "--storage", str(folder / "storage")]
        command = [sys.executable, str(RUN), *words, *more, "--name", "x", "--out", str(folder)]
        began = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        records = Ledger(folder / "experiments" / "x" / "ledger.jsonl").complete()
        plan = json.loads((folder / "experiments" / "x" / "experiment.json").read_text())
    slots = int(plan["machine"]["max_concurrent"])
    trials = [record.timing.total() for record in records]
    return {
        "nodes": count,
        "slots": slots,
        "seconds": seconds,
        "ideal_seconds": in_parallel(trials, slots),
        "trial_seconds_median": statistics.median(trials),
        "losses": {
            record.trial_id: [(e.train_loss_nats, e.val_loss_nats) for e in record.epochs]
            for record in records
        },
    }


def in_parallel(trials: list[float], slots: int) -> float:
    """Seconds of these trials one after the other on so many slots, with nothing in between."""
    free = [0.0] * slots
    for seconds in trials:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """In Markdown."""
    lines = [
        "| where | at a time | whole command, s | its trials alone, s | besides, s "
        "| a trial, s | same bits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        where = f"{row['nodes']} nodes of one core" if row["nodes"] else "no cluster"
        besides = row["seconds"] - row["ideal_seconds"]
        lines.append(
            f"| {where} | {row['slots']} | {row['seconds']:.1f} | {row['ideal_seconds']:.1f} "
            f"| {besides:.1f} | {row['trial_seconds_median']:.1f} | {row['same']} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
