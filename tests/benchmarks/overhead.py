"""What the harness costs: four trials under `search/run.py` against the same in a plain loop.

    python tests/benchmarks/overhead.py                    # trials of a minute: 5 minutes in all
    python tests/benchmarks/overhead.py --quick            # tiny trials, to see that it runs

The plain loop is as many processes as the search runs trials at a time, with the same threads,
each calling `model.train.train` in turn. It trains one half before the search and the other after
it, so that a machine that slows down does so for both. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # import from the checkout

from plain_loop import PlainLoop

from data.corpus import Corpus, CorpusSpec, open_corpus
from data.paths import artifacts_root
from model.device import hardware
from search.experiment import Experiment
from search.ledger import Ledger
from search.options import make_parser
from search.plan import Trial, grid_trials
from search.presets import PRESETS
from search.start import make_experiment, with_corpus

NAME = "overhead"
EPOCHS = 4
TINY = {"tokens_per_epoch": 512, "val_tokens": 512, "embed_dim": 16}
"""What `--quick` changes of the preset."""
CALIBRATION = {"tokens_per_epoch": 5_120, "val_tokens": 512}
"""What the trials are that tell how long a minute's trial must be; some seconds."""


def main() -> None:
    """Measure, print, write."""
    args = parse_arguments()
    corpus = open_corpus(artifacts_root(args.out) / "corpus" / args.corpus)
    words = ["--grid", "lr", "--epochs", str(EPOCHS), "--preset", "quick", "--device", "cpu"]
    words += ["--name", NAME, "--corpus", args.corpus]
    words += ["--max-concurrent", str(args.max_concurrent)] if args.max_concurrent else []
    fields = TINY if args.quick else sized(words, corpus, args.trial_seconds)
    experiment, trials = planned(words, corpus, fields)
    half = len(trials) // 2
    with tempfile.TemporaryDirectory() as temporary, plain_loops(experiment, corpus) as loops:
        home = Path(temporary)
        (home / "corpus").mkdir()
        (home / "corpus" / args.corpus).symlink_to(corpus.folder, target_is_directory=True)
        plain = train_plainly(loops, trials[:half], home)
        stamps, harness = run_harness(words, fields, trials, home)
        plain += train_plainly(loops, trials[half:], home)
    losses = {
        "plain": [trial["val_losses"] for trial in plain],
        "harness": [trial["val_losses"] for trial in harness],
    }
    if losses["plain"] != losses["harness"]:
        sys.exit("the harness and the plain loop came to different losses")
    numbers = {
        "processor": hardware()["processor"],
        "concurrent": experiment.max_concurrent,
        "threads": experiment.threads_per_trial,
        "tokens_per_trial": EPOCHS * fields["tokens_per_epoch"],
        "start_up_seconds": start_up(stamps, harness),
        **comparison(stamps, harness, plain, experiment.max_concurrent),
        "wind_up_seconds": wind_up(stamps),
        "val_losses": losses,
    }
    print("\n".join(report_lines(numbers)))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trial-seconds", type=float, default=60, help="length of a trial (60)")
    parser.add_argument("--max-concurrent", type=int, help="trials at a time (the search's choice)")
    parser.add_argument("--corpus", default=CorpusSpec().name, help="a prepared one (builtin)")
    parser.add_argument("--out", help="where the corpus is: $MINIGPT_HOME, or ./artifacts")
    parser.add_argument("--quick", action="store_true", help="tiny trials, to see that it runs")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    return parser.parse_args()


def planned(
    words: list[str], corpus: Corpus, fields: dict[str, int]
) -> tuple[Experiment, list[Trial]]:
    """The experiment that `search/run.py` makes of these words, and its trials; `fields` replace
    those of the preset."""
    before = PRESETS["quick"]
    PRESETS["quick"] = before.replace(**fields)
    try:
        experiment = with_corpus(make_experiment(make_parser().parse_args(words), "cpu"), corpus)
    finally:
        PRESETS["quick"] = before
    return experiment, grid_trials(experiment)


def sized(words: list[str], corpus: Corpus, seconds: float) -> dict[str, int]:
    """Fields of trials that take about `seconds`: measured on short ones, as many at a time as the
    search will run."""
    experiment, trials = planned(words, corpus, CALIBRATION)
    with plain_loops(experiment, corpus) as loops:
        results = train_plainly(loops, trials, None)
    per_step = experiment.base.train.batch_size * experiment.base.model.seq_len
    rate = per_step * statistics.median(t["steps_per_second"] for t in results)
    return {"tokens_per_epoch": int(rate * seconds / EPOCHS), "val_tokens": 4_096}


@contextmanager
def plain_loops(experiment: Experiment, corpus: Corpus) -> Iterator[list[PlainLoop]]:
    """As many plain loops as the search runs trials at a time."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(PlainLoop(corpus.folder, experiment.threads_per_trial))
            for _ in range(experiment.max_concurrent)
        ]


def train_plainly(
    loops: list[PlainLoop], trials: list[Trial], home: Path | None
) -> list[dict[str, Any]]:
    """Train `trials`, dealt out to the loops in turn, with checkpoints below `home`."""
    dealt = [(loops[number % len(loops)], trial) for number, trial in enumerate(trials)]
    for loop, trial in dealt:
        loop.send(trial.config, home / "plain" / trial.trial_id if home else None)
    return [loop.receive() for loop, _ in dealt]


def run_harness(
    words: list[str], fields: dict[str, int], trials: list[Trial], home: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the search as a command. Returns its stamps (seconds since 1970), and of each trial
    what its worker noted, its timing and its validation losses in nats."""
    path = home / "stamps.json"
    command = [
        sys.executable,
        str(Path(__file__).with_name("overhead_search.py")),
        str(path),
        json.dumps(fields),
    ]
    command += [*words, "--out", str(home)]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    ended = time.time()
    if done.returncode:
        sys.exit(f"the search failed:\n{done.stdout}\n{done.stderr}")
    folder = home / "experiments" / NAME
    records = {record.trial_id: record for record in Ledger(folder / "ledger.jsonl").complete()}
    harness = []
    for trial in trials:
        noted = json.loads((folder / "checkpoints" / trial.trial_id / "overhead.json").read_text())
        record = records[trial.trial_id]
        losses = [epoch.val_loss_nats for epoch in record.epochs]
        harness.append(noted | {"timing": vars(record.timing), "val_losses": losses})
    return json.loads(path.read_text()) | {"command": [began, ended]}, harness


def by_worker(harness: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The trials of each worker process, in order."""
    workers: dict[int, list[dict[str, Any]]] = {}
    for trial in sorted(harness, key=lambda trial: trial["began"]):
        workers.setdefault(trial["worker"], []).append(trial)
    return list(workers.values())


def start_up(stamps: dict[str, Any], harness: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds from the command to the first step, part by part (workers: their mean)."""
    firsts = [lane[0] for lane in by_worker(harness)]
    entered = statistics.mean(t["entered"] for t in firsts)
    stepped = statistics.mean(t["began"] + t["timing"]["startup_seconds"] for t in firsts)
    command = stamps["command"][0]
    parts = {
        "Python and imports": stamps["imported"] - command,
        "verifying the corpus": lasted(stamps["verify_corpus"]),
        "measuring the cost": lasted(stamps["measure_cost"]),
        "importing Ray and Tune": lasted(stamps["import_ray"]),
        "ray.init": lasted(stamps["ray_init"]),
        "first workers": entered - stamps["ray_init"][1],
        "building the model": stepped - entered,
    }
    whole = stepped - command
    return parts | {"the rest": whole - sum(parts.values()), "together": whole}


def wind_up(stamps: dict[str, Any]) -> dict[str, float]:
    """Seconds from the last record in the ledger to the command's end, part by part."""
    shutdown, run_search = stamps["ray_shutdown"], stamps["run_search"]
    recorded, ended = stamps["trial_ends"][-1][0], stamps["command"][1]
    return {
        "ending Tune": shutdown[0] - recorded,
        "ending Ray": run_search[1] - shutdown[0],
        "printing the table": stamps["table"][1] - run_search[1],
        "writing study.db": stamps["returned"] - stamps["table"][1],
        "ending Python": ended - stamps["returned"],
        "together": ended - recorded,
    }


def lasted(stamp: list[float]) -> float:
    """Seconds between a stamp's two times."""
    return stamp[1] - stamp[0]


def comparison(
    stamps: dict[str, Any], harness: list[dict[str, Any]], plain: list[dict[str, Any]], lanes: int
) -> dict[str, float]:
    """The trials in the harness and plainly, and what lies between. Where there are several
    workers, their mean."""
    workers = by_worker(harness)
    (first, cpu_first), (last, cpu_last) = stamps["trial_ends"][0], stamps["trial_ends"][-1]
    gaps = [
        later["began"] - earlier["trained"]
        for lane in workers
        for earlier, later in itertools.pairwise(lane)
    ]
    in_plain = sum(t["ended"] - t["began"] for t in plain) / lanes
    in_harness = sum(lane[-1]["left"] - lane[0]["began"] for lane in workers) / lanes
    whole = in_harness + stamps["command"][1] - last
    reports = [seconds for trial in harness for seconds in trial["reports"]]
    training = [sum(t["timing"]["training_seconds"] for t in ran) for ran in (harness, plain)]
    return {
        "trial_seconds": in_plain * lanes / len(plain),
        "trials_plain_seconds": in_plain,
        "trials_harness_seconds": in_harness,
        "training_over_plain": training[0] / training[1] - 1,
        "between_trials_seconds": statistics.median(gaps) if gaps else 0.0,
        "reports_per_trial": len(reports) / len(harness),
        "report_seconds_median": statistics.median(reports),
        "report_seconds_longest": max(reports),
        "reports_share": sum(reports) / lanes / in_harness,
        "driver_and_ray_cores": (cpu_last - cpu_first) / (last - first),
        "trials_over_plain": in_harness / in_plain - 1,
        "after_start_up_over_plain": whole / in_plain - 1,
    }


def report_lines(numbers: dict[str, Any]) -> list[str]:
    """Three tables in Markdown."""
    n = numbers
    lines = [
        f"{n['processor']}: {n['concurrent']} at a time, threads each: {n['threads']}; trials of "
        f"{n['tokens_per_trial']:,} tokens, {n['trial_seconds']:.1f} s each in the plain loop",
        "",
        "| Start-up | Seconds |",
        "| --- | ---: |",
        *(f"| {part} | {seconds:.2f} |" for part, seconds in n["start_up_seconds"].items()),
        "",
        "| Wind-up | Seconds |",
        "| --- | ---: |",
        *(f"| {part} | {seconds:.2f} |" for part, seconds in n["wind_up_seconds"].items()),
        "",
        "| Between them | |",
        "| --- | ---: |",
        f"| trials, plain loop | {n['trials_plain_seconds']:.2f} s |",
        f"| trials, harness | {n['trials_harness_seconds']:.2f} s |",
        f"| the same, over the plain loop | {n['trials_over_plain']:+.2%} |",
        f"| their training alone, over the plain loop's | {n['training_over_plain']:+.2%} |",
        f"| from one trial to the next | {n['between_trials_seconds'] * 1e3:.0f} ms |",
        f"| reports of a trial | {n['reports_per_trial']:.0f} |",
        f"| a report, median | {n['report_seconds_median'] * 1e3:.1f} ms |",
        f"| a report, longest | {n['report_seconds_longest'] * 1e3:.1f} ms |",
        f"| all reports, share of the trials | {n['reports_share']:.2%} |",
        f"| processor time of driver and Ray | {n['driver_and_ray_cores']:.3f} cores |",
        f"| all after the start-up, over the plain loop | {n['after_start_up_over_plain']:+.2%} |",
    ]
    return lines


if __name__ == "__main__":
    main()
