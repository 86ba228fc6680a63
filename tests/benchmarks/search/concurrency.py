"""How many trials at a time, with how many threads each, train the most tokens a second on a CPU.

    python tests/benchmarks/search/concurrency.py              # all combinations that fit the cores
    python tests/benchmarks/search/concurrency.py --quick         # short runs, to see that it works

Each trial is a process, with the threads that the search gives a worker; those of a combination
train at the same time. Combinations take turns, so that a machine that slows down does so for all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

from plain_loop import PlainLoop

from minigpt_search.data.common.machine import usable_cores
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import best_precision, hardware
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.space.presets import FULL, QUICK

SHAPES = {
    "quick: 4 x 64, width 128": QUICK,
    "seed: 32 x 64, width 128": FULL,
    "seed: 32 x 64, width 512": FULL.replace(embed_dim=512),
}
MANY_TRIALS = ["--search", "tpe", "--trials", "1000", "--device", "cpu"]
"""A search that never runs short of trials."""
FEW_CORES = 4
"""Up to here every combination is tried, above only powers of two."""


def main() -> None:
    """Measure, print, write."""
    args = parse_arguments()
    corpus = artifacts_root(args.out) / "corpus" / args.corpus
    open_corpus(corpus)
    cores = usable_cores()
    combinations = combinations_of(cores)
    chosen = make_experiment(make_parser().parse_args(MANY_TRIALS), "cpu")
    rows = []
    with ExitStack() as stack:
        loops = {
            (trials, threads): [
                stack.enter_context(PlainLoop(corpus, threads)) for _ in range(trials)
            ]
            for trials, threads in combinations
        }
        for shape, config in args.shapes.items():
            rows += measured(shape, config, loops, args.rounds, args.seconds)
    numbers = {
        "processor": hardware()["processor"],
        "cores": cores,
        "precision": best_precision("cpu"),
        "the_search_takes": [chosen.machine.max_concurrent, chosen.machine.threads_per_trial],
        "rows": rows,
    }
    print("\n".join(report_lines(numbers)))
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each combination (3)")
    parser.add_argument("--seconds", type=float, default=2, help="of training in a turn (2)")
    parser.add_argument("--corpus", default=CorpusSpec().name, help="a prepared one (builtin)")
    parser.add_argument("--out", help="where the corpus is: $MINIGPT_HOME, or ./artifacts")
    parser.add_argument("--quick", action="store_true", help="one short turn of the first shape")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 0.0
    args.shapes = dict(list(SHAPES.items())[:1]) if args.quick else SHAPES
    return args


def combinations_of(cores: int) -> list[tuple[int, int]]:
    """(trials, threads of each) that together take no more than the cores."""
    counts = list(range(1, cores + 1))
    if cores > FEW_CORES:
        counts = [2**k for k in range(cores.bit_length())]
    return [(n, threads) for n in counts for threads in counts if n * threads <= cores]


def measured(
    shape: str,
    config: RunConfig,
    loops: dict[tuple[int, int], list[PlainLoop]],
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Tokens a second of all combinations, a row each, with each turn's number."""
    config = config.replace(precision=best_precision("cpu"), epochs=1, val_tokens=64)
    config = config.replace(warmup_steps=None, warmup_fraction=0.1)
    tokens = config.train.batch_size * config.model.seq_len
    steps = 2  # enough to guess how many fill a turn; it warms up too
    fastest = max(together(config, group, steps) for group in loops.values())
    steps = max(steps, round(seconds * fastest / tokens / max(map(len, loops.values()))))
    turns: dict[tuple[int, int], list[float]] = {combination: [] for combination in loops}
    for _ in range(rounds):
        for combination, group in loops.items():
            turns[combination].append(together(config, group, steps))
    return [
        {"shape": shape, "trials": trials, "threads": threads, "tokens_per_second": rates}
        for (trials, threads), rates in turns.items()
    ]


def together(config: RunConfig, group: list[PlainLoop], steps: int) -> float:
    """Tokens a second of all trials of `group` together, training `steps` steps at once."""
    tokens = config.train.batch_size * config.model.seq_len
    config = config.replace(tokens_per_epoch=steps * tokens)
    for loop in group:
        loop.send(config, None)
    return tokens * sum(loop.receive()["steps_per_second"] for loop in group)


def report_lines(numbers: dict[str, Any]) -> list[str]:
    """A table in Markdown: the median of the turns, and their least and greatest."""
    chosen = tuple(numbers["the_search_takes"])
    rows = numbers["rows"]
    lines = [
        f"{numbers['processor']}, {numbers['cores']} cores, {numbers['precision']}; "
        f"the search takes {chosen[0]} at a time, threads each: {chosen[1]}",
        "",
        "| Shape | Trials | Threads each | Tokens/s together | Range | Against the search's |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    median = {
        (row["shape"], row["trials"], row["threads"]): statistics.median(row["tokens_per_second"])
        for row in rows
    }
    for row in rows:
        rates, name = row["tokens_per_second"], (row["shape"], row["trials"], row["threads"])
        against = median[name] / median[(row["shape"], *chosen)] - 1
        lines.append(
            f"| {row['shape']} | {row['trials']} | {row['threads']} | {median[name]:,.0f} | "
            f"{min(rates):,.0f} – {max(rates):,.0f} | {against:+.0%} |"
        )
    return lines


if __name__ == "__main__":
    main()
