"""What a search of a thousand trials costs its driver: the real one, with trials that sleep.

    python tests/benchmarks/scaling/scaling.py --trials 1000 --slots 64 --seconds 20     # 7 minutes
    python tests/benchmarks/scaling/scaling.py --trials 300 --slots 16 --seconds 0     # its ceiling
    python tests/benchmarks/scaling/scaling.py --trials 40 --slots 4 --seconds 0.2    # that it runs
    python tests/benchmarks/scaling/scaling.py --parts               # each part by number of trials
    python tests/benchmarks/scaling/scaling.py --storage                # a storage's requests by it

Tune, sampler, recorder, ledger, curves and progress line are the search's own, on a Ray of this
machine that is told of GPUs which aren't there. Only the trial (`scaling_trial.py`) is another.
All of it, workers too, shares this machine's cores: where those are few, its numbers are bounds
from above. Linux only.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

from scaling_meter import Meter
from scaling_numbers import report_lines, summary
from scaling_parts import measure_parts, parts_lines
from scaling_storage import measure_storage, storage_lines
from scaling_trial import STAMPS, STEPS, sleep_and_record

from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import hardware
from minigpt_search.model.run_length import RunLength
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.machines.environment import prepare_environment
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger

TOKENS = 10_000_000
LENGTH = RunLength.of(  # one epoch of so many steps
    RunConfig().replace(epochs=1, warmup_steps=100), 32 * STEPS
)


def main() -> None:
    """Measure, print, write."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="scaling-") as home:
        if args.storage:
            experiment = plan(max(args.storage), 64, "tpe")
            numbers = {"storage": measure_storage(experiment, args.storage, Path(home))}
            lines = storage_lines(numbers["storage"])
        elif args.parts:
            numbers = {"parts": measure_parts(plan(max(args.parts), 64, "tpe"), args.parts, home)}
            lines = parts_lines(numbers["parts"])
        else:
            numbers = measure(args, Path(home) / "experiments" / "scaling")
            lines = report_lines(numbers)
    numbers["processor"], numbers["cores"] = hardware()["processor"], hardware()["cores"]
    print("\n".join(lines))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000, help="of the search (1000)")
    parser.add_argument("--slots", type=int, default=64, help="GPUs that aren't there (64)")
    parser.add_argument("--seconds", type=float, default=20.0, help="mean length of a trial (20)")
    parser.add_argument("--reports", type=float, help="seconds between reports (the search's own)")
    parser.add_argument("--search", default="tpe", help="the sampler (tpe)")
    parser.add_argument(
        "--parts", type=int, nargs="*", metavar="N", help="no Ray: each part at N trials told"
    )
    parser.add_argument(
        "--storage", type=int, nargs="*", metavar="N", help="no Ray: requests at N trials ended"
    )
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    args = parser.parse_args()
    if args.parts == []:
        args.parts = [100, 300, 1_000, 3_000]
    if args.storage == []:
        args.storage = [100, 1_000]
    return args


def plan(trials: int, slots: int, sampler: str) -> Experiment:
    """A sampler's search over rate, epochs and width, on so many GPUs."""
    words = ["--search", sampler, "--trials", str(trials), "--preset", "full", "--name", "scaling"]
    args = make_parser().parse_args(words)
    check_options(args)
    made = make_experiment(args, "cpu")
    return made.replace(
        device="cuda",
        max_concurrent=slots,
        threads_per_trial=1,
        gpus_per_trial=1.0,
        hardware=made.machine.hardware | {"gpus": ["no device"] * slots},
        content_hash="0" * 64,
        manifest={
            "name": "none",
            "splits": {"train": {"tokens": TOKENS, "files": [{"tokens": TOKENS}]}},
        },
    )


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One search."""
    experiment = plan(args.trials, args.slots, args.search)
    experiment.write(folder)
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # the workers': where the trial is
    prepare_environment(1)
    from minigpt_search.search.driver import tuner
    from minigpt_search.search.worker.reporting import report_every

    reports = args.reports or report_every(args.slots)
    tuner.run_trials = functools.partial(  # type: ignore[assignment]
        sleep_and_record, seconds=args.seconds, reports=reports
    )
    ledger, meter = Ledger(folder / "ledger.jsonl"), Meter()
    meter.listen()
    began = time.time()
    search = tuner.Search(experiment, folder, ledger, lambda trial: LENGTH, Clock(folder, began))
    search.run()
    ended = time.time()
    stamps = [json.loads(path.read_text()) for path in folder.glob(f"checkpoints/*/{STAMPS}")]
    assert len(ledger.complete()) == len(stamps) == args.trials
    asked = {"trials": args.trials, "slots": args.slots, "seconds": args.seconds}
    asked |= {"sampler": args.search, "report_every_seconds": reports}
    return asked | summary(meter, stamps, began, ended, args.slots)


if __name__ == "__main__":
    main()
