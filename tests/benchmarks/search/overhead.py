"""What the harness costs: four trials under `search/run.py` against the same in a plain loop.

    python tests/benchmarks/search/overhead.py               # trials of a minute: 10 minutes in all
    python tests/benchmarks/search/overhead.py --quick            # tiny trials, to see that it runs

The plain loop is as many processes as the search runs trials at a time, with the same threads, each
calling `model.training.train.train` in turn. After the search's start-up the two take turns of a
second on the whole machine (`alternation.py`), each with a clock that stands while it is stopped: a
machine whose speed drifts does so for both. Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

from alternation import Side, alternate
from overhead_numbers import comparison, report_lines, start_up, wind_up
from plain_loop import PlainLoop

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.model.hardware.device import hardware
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.trials.trial import Trial, grid_trials

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
    slices = args.slice_seconds or (0.5 if args.quick else 1.0)
    rounds = [
        measure(words, fields, experiment, trials, corpus, slices)
        for _ in range(1 if args.quick else args.rounds)
    ]
    numbers = {
        "processor": hardware()["processor"],
        "concurrent": experiment.machine.max_concurrent,
        "threads": experiment.machine.threads_per_trial,
        "tokens_per_trial": EPOCHS * fields["tokens_per_epoch"],
        "slice_seconds": slices,
        "rounds": rounds,
    }
    print("\n".join(report_lines(numbers)))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")


def measure(
    words: list[str],
    fields: dict[str, int],
    experiment: Experiment,
    trials: list[Trial],
    corpus: Corpus,
    slices: float,
) -> dict[str, Any]:
    """One search and one plain loop, in turns of `slices` seconds."""
    with tempfile.TemporaryDirectory() as temporary, plain_loops(experiment, corpus) as loops:
        home = Path(temporary)
        (home / "corpus").mkdir()
        (home / "corpus" / corpus.folder.name).symlink_to(corpus.folder, target_is_directory=True)
        search, command = start_search(words, fields, home)
        sides = Side([search.pid]), Side([loop.process.pid for loop in loops])
        try:
            wait_for_trials(search, home, experiment.machine.max_concurrent)
            with ThreadPoolExecutor(1) as pool:
                training = pool.submit(train_plainly, loops, trials, home)
                busy = (lambda: search.poll() is None), (lambda: not training.done())
                alternate(*sides, slices, busy)
                search.wait()
                command.append(time.time())
                plain = training.result()
        finally:
            search.kill()  # if it has not ended; Ray's processes end with it
        stamps, harness = read_search(search, trials, home)
    losses = {
        "plain": [trial["val_losses"] for trial in plain],
        "harness": [trial["val_losses"] for trial in harness],
    }
    if losses["plain"] != losses["harness"]:
        sys.exit("the harness and the plain loop came to different losses")
    stamps["command"] = command
    lasted = sides[0].lasted, sides[1].lasted
    return {
        "start_up_seconds": start_up(stamps, harness, lasted[0]),
        **comparison(stamps, harness, plain, *lasted),
        "wind_up_seconds": wind_up(stamps, lasted[0]),
        "val_losses": losses,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trial-seconds", type=float, default=60, help="length of a trial (60)")
    parser.add_argument("--max-concurrent", type=int, help="trials at a time (the search's choice)")
    parser.add_argument("--corpus", default=CorpusSpec().name, help="a prepared one (builtin)")
    parser.add_argument("--out", help="where the corpus is: $MINIGPT_HOME, or ./artifacts")
    parser.add_argument("--rounds", type=int, default=2, help="searches, each beside a loop (2)")
    parser.add_argument("--slice-seconds", type=float, help="length of a turn (1)")
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
    per_step = experiment.space.base.train.batch_size * experiment.space.base.model.seq_len
    rate = per_step * statistics.median(t["steps_per_second"] for t in results)
    return {"tokens_per_epoch": int(rate * seconds / EPOCHS), "val_tokens": 4_096}


@contextmanager
def plain_loops(experiment: Experiment, corpus: Corpus) -> Iterator[list[PlainLoop]]:
    """As many plain loops as the search runs trials at a time."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(PlainLoop(corpus.folder, experiment.machine.threads_per_trial))
            for _ in range(experiment.machine.max_concurrent)
        ]


def train_plainly(
    loops: list[PlainLoop], trials: list[Trial], home: Path | None
) -> list[dict[str, Any]]:
    """Train `trials`, dealt out to the loops in turn, with checkpoints below `home`."""
    dealt = [(loops[number % len(loops)], trial) for number, trial in enumerate(trials)]
    for loop, trial in dealt:
        loop.send(trial.config, home / "plain" / trial.trial_id if home else None)
    return [loop.receive() for loop, _ in dealt]


def start_search(
    words: list[str], fields: dict[str, int], home: Path
) -> tuple[subprocess.Popen[str], list[float]]:
    """Start the search as a command. Returns it, and when it was started."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("overhead_search.py")),
        str(home / "stamps.json"),
        json.dumps(fields),
    ]
    command += [*words, "--out", str(home)]
    began = time.time()
    with open(home / "search.log", "w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True), [began]


def wait_for_trials(search: subprocess.Popen[str], home: Path, count: int) -> None:
    """Wait until that many trials have called `train`, or the search has ended."""
    marks = f"experiments/{NAME}/checkpoints/*/began"
    while search.poll() is None and len([*home.glob(marks)]) < count:
        time.sleep(0.05)


def read_search(
    search: subprocess.Popen[str], trials: list[Trial], home: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The search's stamps (seconds since 1970), and of each trial what its worker noted, its
    timing and its validation losses in nats."""
    if search.returncode:
        sys.exit(f"the search failed:\n{(home / 'search.log').read_text()}")
    folder = home / "experiments" / NAME
    records = {record.trial_id: record for record in Ledger(folder / "ledger.jsonl").complete()}
    harness = []
    for trial in trials:
        noted = json.loads((folder / "checkpoints" / trial.trial_id / "overhead.json").read_text())
        losses = [epoch.val_loss_nats for epoch in records[trial.trial_id].epochs]
        timing = vars(records[trial.trial_id].timing)
        harness.append(noted | {"timing": timing, "val_losses": losses})
    return json.loads((home / "stamps.json").read_text()), harness


if __name__ == "__main__":
    main()
