"""A search as a user starts it, four trials on one GPU, two at a time: the `full` preset's learning
rates. Its plan, ledger and report in one file, and a table of its trials.

python tests/benchmarks/gpu/ray_search.py --tar search.tar.gz --json search.json
python tests/benchmarks/gpu/ray_search.py --quick --device cpu     # does it work at all?
"""

from __future__ import annotations

import argparse
import ctypes
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from json_file import write_json

from minigpt_search.data.common.errors import run_command
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.model.records import COMPLETE
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord

ROOT = Path(__file__).resolve().parents[3]
TRIALS = 4
KEPT = {".json", ".jsonl", ".md", ".html", ".png", ".csv"}
"""Of the experiment's folder, by their names' ends: weights stay where they are. And all logs: what
was the matter with a trial is in its own."""
PR_SET_PDEATHSIG = 1  # as in linux/prctl.h
GRACE_SECONDS = 15.0
"""For the search to end in order, when this is ended: `gpu.sh` kills all 30 s after it."""


def search(root: Path, name: str, args: argparse.Namespace) -> int:
    """Run it; its exit status. However this ends, the search has ended too."""
    words = ["--device", args.device, "--name", name, "--out", str(root)]
    if args.quick:
        prepare = [sys.executable, str(ROOT / "data" / "prepare.py"), "--tokenizer", "byte"]
        for page in sorted((ROOT / "docs").glob("*.md")):
            prepare += ["--source", str(page)]
        prepare += ["--name", "docs", "--workers", "1", "--out", str(root), "--quiet"]
        subprocess.run(prepare, check=True)
        words += ["--corpus", "docs", "--lr", "1e-3,2e-3,4e-3,8e-3", "--embed-dim", "16"]
        words += ["--epochs", "1", "--tokens-per-epoch", "8192", "--val-tokens", "1024"]
        words += ["--max-concurrent", "2", "--cpus-per-trial", "1"]
    else:
        words += ["--preset", "full", "--grid", "lr", "--trials-per-gpu", "2"]
    command = [sys.executable, str(ROOT / "search" / "run.py"), *words]
    # A session of its own: a second SIGTERM, by the group's, would break off its orderly end.
    with subprocess.Popen(command, start_new_session=True, preexec_fn=end_with_parent) as process:
        try:
            return process.wait()
        except BaseException:  # SIGTERM and Ctrl-C
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            raise
        finally:
            process.kill()


def end_with_parent() -> None:
    """Have Linux send this process SIGTERM when its parent is gone, be it by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def row(record: TrialRecord) -> dict[str, object]:
    """What is told of a trial."""
    last = record.epochs[-1] if record.epochs else None
    return {
        "lr": record.config.train.lr_peak,
        "status": record.status,
        "error": record.error,
        "val_loss_nats": last and last.val_loss_nats,
        "device": record.device.name,
        "steps": record.steps,
        "steps_per_second": last and last.steps_per_second,
        "peak_memory_mb": last and last.peak_memory_mb,
        "startup_seconds": record.timing.startup_seconds,
        "training_seconds": record.timing.training_seconds,
        "evaluation_seconds": record.timing.evaluation_seconds,
        "attempts": record.attempts,
        "notes": getattr(record, "notes", ()),
    }


def keep(folder: Path, tar_path: Path | None) -> list[dict[str, object]]:
    """Leave plan, ledger and what there is of a report in the archive; the trials so far."""
    if tar_path:
        with tarfile.open(tar_path, "w:gz") as tar:
            for path in sorted(folder.rglob("*")):
                kept = path.suffix in KEPT and "checkpoints" not in path.parts
                if kept or path.suffix == ".log":
                    tar.add(path, f"{folder.name}/{path.relative_to(folder)}")
    return [row(record) for record in Ledger(folder / "ledger.jsonl").trials]


def end(*_: object) -> None:
    """End by way of what is to be kept; `timeout` sends its signal twice."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--tar", type=Path, metavar="PATH", help="plan, ledger and report")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny model, on this project's pages"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) if args.quick else artifacts_root(args.out)
        name = f"gpu-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = root / "experiments" / name
        told: dict[str, object] = {"status": "cut short"}
        started = time.perf_counter()
        try:
            status = search(root, name, args)
            told["wall_seconds"] = seconds = time.perf_counter() - started
            report = [str(ROOT / "reports" / "generate.py"), name, "--out", str(root)]
            status = status or subprocess.run([sys.executable, *report]).returncode
            told["status"] = status
        finally:  # also of a search that is cut short
            rows = keep(folder, args.tar)
            if args.json:
                write_json(args.json, told | {"trials": rows})
    print(f"{len(rows)} trials in {seconds:.1f} s, from the command to its end")
    for each in rows:
        print(json.dumps(each))
    complete = sum(each["status"] == COMPLETE for each in rows)
    return 0 if status == 0 and complete == TRIALS else 1


if __name__ == "__main__":
    run_command(main)
