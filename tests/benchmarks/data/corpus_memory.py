"""Peak memory of preparing a large corpus: all processes together, sampled (Linux).

python tests/benchmarks/data/corpus_memory.py 500        # megabytes of synthetic text
python tests/benchmarks/data/corpus_memory.py 5 --folder artifacts
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def write_text(path: Path, megabytes: int) -> None:
    """JSON lines of about 2.5 KB of made-up prose each, a tenth of them near-copies."""
    chooser = random.Random(0)
    letters = "etaoinshrdlucmfwyp"
    words = ["".join(chooser.choices(letters, k=chooser.randint(2, 9))) for _ in range(30_000)]
    words += ["the", "of", "and", "to", "that", "with"] * 2_000
    previous = ""
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            sentences = [
                " ".join(chooser.choices(words, k=chooser.randint(6, 20))).capitalize() + "."
                for _ in range(30)
            ]
            text = "\n".join(" ".join(sentences[k : k + 6]) for k in range(0, 30, 6))
            if chooser.random() < 0.1:
                text = previous.replace(" of ", " in ", 1)
            previous = text
            file.write(json.dumps({"text": text}) + "\n")


def resident_bytes(process: int) -> tuple[int, int]:
    """Of a process and its descendants, in bytes: memory of their own, and that with the pages of
    mapped files (cache, which the system takes back when it needs to). Shared pages count once."""
    own, mapped = 0, 0
    waiting = [process]
    while waiting:
        number = waiting.pop()
        try:
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
            children = Path(f"/proc/{number}/task/{number}/children").read_text()
        except OSError:  # it ended meanwhile
            continue
        fields = dict(line.split(":", 1) for line in rollup.splitlines()[1:])
        own += int(fields["Pss_Anon"].split()[0]) * 1024
        mapped += int(fields["Pss"].split()[0]) * 1024
        waiting += map(int, children.split())
    return own, mapped


def main() -> None:
    """Prepare, sample, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", type=int)
    parser.add_argument("--folder", help="where downloads are, or go (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "synthetic.jsonl"
        write_text(text, arguments.megabytes)
        command = [sys.executable, str(ROOT / "data" / "prepare.py"), "--source", str(text)]
        out = arguments.folder or temporary
        command += ["--out", out, "--name", f"memory-{arguments.megabytes}-{time.time_ns()}"]
        started = time.perf_counter()
        running = subprocess.Popen(command)
        own_peak, mapped_peak = 0, 0
        while running.poll() is None:
            own, mapped = resident_bytes(running.pid)
            own_peak, mapped_peak = max(own_peak, own), max(mapped_peak, mapped)
            time.sleep(0.2)
    seconds = time.perf_counter() - started
    print(
        f"{arguments.megabytes} MB: peak {own_peak / 1e6:.0f} MB, {mapped_peak / 1e6:.0f} MB with "
        f"mapped files, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
