"""Does a long search grow? 500 tiny trials by `search/run.py`, its processes watched from outside.

    python tests/benchmarks/search/long_run.py                        # a grid: 500 trials
    python tests/benchmarks/search/long_run.py --search tpe           # the same number by a sampler
    python tests/benchmarks/search/long_run.py --trials 12            # to see that it runs

The command is the user's own, on a made-up corpus so small that a trial takes a fraction of a
second. Each second the memory and processor time of each process are read. Memory is anonymous
pages (/proc/PID/smaps_rollup): what it allocated, without files mapped into it, which count as its
own or as shared depending on what else runs. Slopes are least squares over the samples after the
first tenth of the trials. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from synthetic_corpus import write_synthetic_corpus

ROOT = Path(__file__).resolve().parents[3]
CORPUS, NAME = "synthetic", "long"
TRAIN_TOKENS = 2_100
"""Eight steps of 4 x 64 tokens: as few as the warm-up of 10% allows, and some."""
RATES = 100
WARMED_UP = 0.1
"""Share of the trials that the slopes leave out: first epochs fill caches and import modules."""


@dataclass(kw_only=True)
class Sample:
    """What was read at one moment."""

    seconds: float
    """Since the start of the command."""
    trials: int
    """Records in the ledger."""
    memory_mb: dict[str, float] = field(default_factory=dict)
    """By process: `driver`, `gcs_server`, `raylet`, `worker PID`, `other of Ray's`."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """User and system, so far, by the same names."""


def main() -> int:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        write_synthetic_corpus(home / "corpus" / CORPUS, train_tokens=TRAIN_TOKENS)
        samples, status = watch(command_of(args, home), home)
    if len(samples) < 10:
        return status or 1
    numbers = summarise(samples, args.trials)
    print("\n".join(report_lines(numbers)))
    if args.json:
        points = [vars(sample) for sample in samples]
        args.json.write_text(json.dumps(numbers | {"samples": points}, indent=1) + "\n")
    return status


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=500, metavar="N", help="(500)")
    parser.add_argument("--search", choices=("tpe",), help="a sampler instead of a grid")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write the numbers")
    return parser.parse_args()


def command_of(args: argparse.Namespace, home: Path) -> list[str]:
    """A grid of learning rates and seeds, or a sampler over the learning rate."""
    words = ["--corpus", CORPUS, "--name", NAME, "--preset", "quick", "--device", "cpu"]
    words += ["--embed-dim", "4", "--out", str(home)]
    if args.search:
        words += ["--search", args.search, "--trials", str(args.trials), "--lr", "1e-4,1e-2"]
        words += ["--epochs", "1"]
    else:
        rates = min(RATES, args.trials)
        values = ",".join(f"{rate:.6g}" for rate in np.geomspace(1e-4, 1e-2, rates))
        words += ["--lr", values, "--seeds", str(args.trials // rates)]
    return [sys.executable, str(ROOT / "search" / "run.py"), *words]


def watch(command: list[str], home: Path) -> tuple[list[Sample], int]:
    """Run `command` to its end. Returns the samples and its exit status."""
    samples: list[Sample] = []
    ledger = home / "experiments" / NAME / "ledger.jsonl"
    began = time.perf_counter()
    with (home / "screen").open("w") as screen:
        search = subprocess.Popen(command, stdout=screen, stderr=screen)
        try:
            while search.poll() is None:
                trials = ledger.read_bytes().count(b'"record":"trial"') if ledger.exists() else 0
                samples.append(sample(search.pid, trials, time.perf_counter() - began))
                time.sleep(1)
        finally:
            search.terminate()
            search.wait()
    if search.returncode:
        print((home / "screen").read_text()[-4000:], file=sys.stderr)
    return [s for s in samples if s.trials], search.returncode


def sample(driver: int, trials: int, seconds: float) -> Sample:
    """Memory and processor time of the driver and of all processes below it."""
    taken = Sample(seconds=seconds, trials=trials)
    waiting = [driver]
    while waiting:
        pid = waiting.pop()
        try:
            name = "driver" if pid == driver else role(pid)
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
            children = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children")]
        except OSError:  # it ended meanwhile
            continue
        [line] = [line for line in rollup.splitlines() if line.startswith("Anonymous:")]
        megabytes = int(line.split()[1]) * 1024 / 1e6
        cpu = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        taken.memory_mb[name] = taken.memory_mb.get(name, 0.0) + megabytes
        taken.cpu_seconds[name] = taken.cpu_seconds.get(name, 0.0) + cpu
        waiting += map(int, " ".join(children).split())
    return taken


def role(pid: int) -> str:
    """What a process below the driver is; `worker PID` for one that trains."""
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    if command.startswith("ray::ImplicitFunc"):
        return f"worker {pid}"
    program = Path(command.split(" ")[0]).name
    return program if program in ("gcs_server", "raylet") else "other of Ray's"


def summarise(samples: list[Sample], trials: int) -> dict:
    """Slopes, ends, and the cost of a trial early and late."""
    running = [s for s in samples if s.trials < trials]  # then Ray ends, and the driver loads more
    late = [s for s in running if s.trials >= WARMED_UP * trials]
    names = [n for n in late[-1].memory_mb if sum(n in s.memory_mb for s in late) > len(late) / 2]
    memory = {}
    for name in sorted(names, key=lambda n: (n != "driver", not n.startswith("worker"), n)):
        points = [(s.trials, s.memory_mb[name]) for s in late if name in s.memory_mb]
        slope, _ = np.polyfit(*zip(*points, strict=True), 1)
        memory[name] = {
            "first_mb": points[0][1],
            "last_mb": points[-1][1],
            "highest_mb": max(mb for _, mb in points),
            "slope_mb_per_100_trials": 100 * float(slope),
        }
    parts = [(0.1, 0.2), (0.45, 0.55), (0.85, 0.95)]
    return {
        "trials": samples[-1].trials,
        "samples_fitted": len(late),
        "workers_seen": len({n for s in samples for n in s.memory_mb if n.startswith("worker")}),
        "memory": memory,
        "per_trial": [per_trial(samples, low * trials, high * trials) for low, high in parts],
    }


def per_trial(samples: list[Sample], low: float, high: float) -> dict[str, float]:
    """Wall and processor milliseconds of one trial, while trials `low` to `high` ended."""
    part = [s for s in samples if low <= s.trials <= high] or samples
    first, last = part[0], part[-1]
    ended = max(1, last.trials - first.trials)
    spent = {
        name: 1e3 * (last.cpu_seconds[name] - first.cpu_seconds.get(name, 0.0)) / ended
        for name in ("driver", "gcs_server", "raylet")
    }
    wall = 1e3 * (last.seconds - first.seconds) / ended
    return {"from": first.trials, "to": last.trials, "wall_ms": wall, **spent}


def report_lines(numbers: dict) -> list[str]:
    """Two tables in Markdown."""
    lines = [
        f"{numbers['trials']} trials; {numbers['samples_fitted']} samples fitted; "
        f"{numbers['workers_seen']} worker processes in all",
        "",
        "| process | MB, first tenth done | at the end | highest | slope, MB per 100 trials |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, m in numbers["memory"].items():
        lines.append(
            f"| {name} | {m['first_mb']:.1f} | {m['last_mb']:.1f} | {m['highest_mb']:.1f} | "
            f"{m['slope_mb_per_100_trials']:+.2f} |"
        )
    lines += [
        "",
        "| trials | wall, ms a trial | driver's processor | gcs_server's | raylet's |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for p in numbers["per_trial"]:
        lines.append(
            f"| {p['from']:.0f} to {p['to']:.0f} | {p['wall_ms']:.0f} | {p['driver']:.1f} | "
            f"{p['gcs_server']:.1f} | {p['raylet']:.1f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
