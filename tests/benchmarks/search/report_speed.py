"""How long a report takes whose ledger has 500 trials: `reports/generate.py`, the whole command.

    python tests/benchmarks/search/report_speed.py

The ledgers are made (tests/reports/conftest.py): a grid over ten epochs and what a sampler drew, up
to 20 epochs. Median of several runs, after one that reads the libraries into memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reports"))

from conftest import Builder

CHECKOUT = Path(__file__).resolve().parents[3]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    runs = parser.parse_args().runs
    print("| ledger | lines | MB | seconds, median | lowest to highest | processor, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        for sampler in (None, "tpe"):
            _, ledger = Builder(Path(temporary)).five_hundred(sampler)
            command = [sys.executable, str(CHECKOUT / "reports" / "generate.py"), "long"]
            command += ["--out", temporary]
            walls, cpus = zip(*(timed(command) for _ in range(runs + 1)), strict=True)
            walls, cpus = walls[1:], cpus[1:]
            size = ledger.path.stat().st_size / 1e6
            print(
                f"| {sampler or 'grid'} | {len(ledger.trials)} | {size:.1f} | "
                f"{statistics.median(walls):.2f} | {min(walls):.2f} to {max(walls):.2f} | "
                f"{statistics.median(cpus):.2f} |"
            )


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system
    return wall, spent - before.children_user - before.children_system


if __name__ == "__main__":
    main()
