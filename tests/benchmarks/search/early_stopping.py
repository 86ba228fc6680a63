"""Do ranks at the rungs agree with final ranks, and what does early stopping save?

    python tests/benchmarks/search/early_stopping.py NAME...      # rank correlations of experiments
    python tests/benchmarks/search/early_stopping.py --compare GRID SEARCH...
    python tests/benchmarks/search/early_stopping.py --run             # the six searches, then both
    python tests/benchmarks/search/early_stopping.py --run --tiny --corpus small  # seconds, no
    verdict

NAME is an experiment run with `--stop never`, which scores the rungs and stops nothing. The
comparison is of TPE with early stopping against a grid of 4 learning rates × 3 numbers of epochs ×
3 widths: its best must be within 1% of the grid's best with no more than 40% of the grid's training
tokens, in the median over the searches (5 seeds). On two cores `--run` takes some 15 minutes.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")

import pandas as pd

from minigpt_search.data.common.errors import ArgumentParser, UserError, run_command
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.model.records import COMPLETE
from minigpt_search.model.training.rungs import SHARES
from minigpt_search.search.early_stopping.rule import curve_step
from minigpt_search.search.records.experiment import find_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord

CHECKOUT = Path(__file__).resolve().parents[3]
AT_MOST_WORSE, AT_MOST_TOKENS = 0.01, 0.40
LRS, EPOCHS, WIDTHS = "1e-3,3e-3,1e-2,3e-2", "1,2,4", "16,32,64"
BUDGET = ("--preset", "quick", "--tokens-per-epoch", "16000", "--val-tokens", "4096")
TINY = ("--preset", "quick", "--tokens-per-epoch", "2048", "--val-tokens", "512")
SEEDS = 5


def rank_correlations(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Spearman's correlation of the losses at each rung with the final ones, over the complete
    trials of each horizon: their tokens, the rung, trials, correlation."""
    at: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for trial in trials:
        if trial.status != COMPLETE:
            continue
        for rung in trial.rungs:
            share = min(SHARES, key=lambda nominal: abs(nominal - rung.share))
            step = curve_step(trial.config, share, rung.tokens_seen)
            pair = rung.val_loss_nats, trial.final.val_loss_nats
            at[rung.schedule_tokens, step].append(pair)
    rows = [
        {
            "tokens of the run": tokens,
            "rung": step,
            "trials": len(pairs),
            "spearman": spearman([a for a, _ in pairs], [b for _, b in pairs]),
        }
        for (tokens, step), pairs in sorted(at.items())
        if len(pairs) > 2
    ]
    return pd.DataFrame(rows, columns=["tokens of the run", "rung", "trials", "spearman"])


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank (Spearman 1904)."""
    return float(pd.Series(first).rank().corr(pd.Series(second).rank()))


def tokens_trained(trial: TrialRecord) -> int:
    """All tokens that a trial trained on, whatever its end."""
    if trial.status == COMPLETE:
        return trial.final.tokens_seen
    by_steps = trial.steps * trial.config.train.batch_size * trial.config.model.seq_len
    last = trial.rungs[-1] if trial.rungs else None
    return last.tokens_seen if last is not None and last.step == trial.steps else by_steps


def compare(grid: Ledger, searches: Sequence[Ledger]) -> tuple[pd.DataFrame, bool]:
    """Each search against the grid, the medians in the last row; and whether they are within the
    limits."""
    best, tokens = _best_loss(grid), sum(map(tokens_trained, grid.trials))
    rows = [
        {
            "search": ledger.path.parent.name,
            "trials": len(ledger.trials),
            "complete": len(ledger.complete()),
            "best": _best_loss(ledger),
            "worse": _best_loss(ledger) / best - 1,
            "tokens": sum(map(tokens_trained, ledger.trials)) / tokens,
        }
        for ledger in searches
    ]
    middle = {
        name: statistics.median(float(row[name]) for row in rows)  # type: ignore[arg-type]
        for name in ("trials", "complete", "best", "worse", "tokens")
    }
    frame = pd.DataFrame([*rows, {"search": "median", **middle}])
    return frame, middle["worse"] <= AT_MOST_WORSE and middle["tokens"] <= AT_MOST_TOKENS


def _best_loss(ledger: Ledger) -> float:
    best = ledger.best()
    if best is None:
        raise UserError(f"{ledger.path}: no trial is complete")
    return best.final.val_loss_nats


def run_searches(prefix: str, trials: int, rule: str, seeds: int, flags: Sequence[str]) -> None:
    """The grid, with rungs and nothing stopped, and TPE with `rule` over the same ranges."""
    axes = "--lr", LRS, "--epochs", EPOCHS, "--embed-dim", WIDTHS
    ranges = [",".join((v.split(",")[0], v.split(",")[-1])) if "," in v else v for v in axes]
    _search(*axes, "--stop", "never", "--name", f"{prefix}-grid", *flags)
    for seed in range(seeds):
        tpe = "--search", "tpe", "--trials", str(trials), "--stop", rule, "--seed", str(seed)
        _search(*ranges, *tpe, "--name", f"{prefix}-tpe-{seed}", *flags)


def _search(*words: str) -> None:
    print("python search/run.py", *words, flush=True)
    command = [sys.executable, str(CHECKOUT / "search" / "run.py"), *words]
    if subprocess.run(command, check=False).returncode != 0:
        print("  it ended with trials that diverged or failed", flush=True)


def main() -> int:
    parser = ArgumentParser(
        prog="python tests/benchmarks/search/early_stopping.py", description=__doc__
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--compare", action="store_true", help="the first NAME is the grid")
    parser.add_argument("--run", action="store_true", help="run the six searches first")
    parser.add_argument("--prefix", default="early", help="of their names (early)")
    parser.add_argument("--trials", type=int, default=24, help="of each search (24)")
    parser.add_argument("--rule", default="asha", help="asha or median (asha)")
    parser.add_argument("--corpus", default="builtin")
    parser.add_argument("--flags", default="", help="more flags of search/run.py, in one word")
    parser.add_argument("--tiny", action="store_true", help="2 seeds of a few steps")
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")
    args = parser.parse_args()
    root, names = artifacts_root(args.out), list(args.names)
    if args.run:
        seeds = 2 if args.tiny else SEEDS
        flags = [*(TINY if args.tiny else BUDGET), "--corpus", args.corpus, "--out", str(root)]
        flags += shlex.split(args.flags)
        run_searches(args.prefix, args.trials, args.rule, seeds, flags)
        names = [f"{args.prefix}-grid", *(f"{args.prefix}-tpe-{seed}" for seed in range(seeds))]
    if not names:
        raise UserError("give the names of experiments, or --run; see --help")
    ledgers = [Ledger(find_experiment(root, name) / "ledger.jsonl") for name in names]
    together = args.compare or args.run
    for ledger in ledgers[:1] if together else ledgers:
        print(f"\n{ledger.path.parent.name}: ranks at the rungs against final ranks")
        print("(a rung in thousandths of the run; with wsd in tokens)")
        print(rank_correlations(ledger.trials).to_string(index=False, float_format="%.3f"))
    if not together:
        return 0
    frame, passed = compare(ledgers[0], ledgers[1:])
    tokens = sum(map(tokens_trained, ledgers[0].trials))
    print(f"\nagainst {names[0]}: best {_best_loss(ledgers[0]):.4f} nats, {tokens:,} tokens")
    print(frame.to_string(index=False, float_format="%.4f"))
    limits = f"at most {AT_MOST_WORSE:.0%} worse with at most {AT_MOST_TOKENS:.0%} of the tokens"
    print(f"{'passed' if passed else 'FAILED'}: {limits}, in the median")
    return 0 if passed or args.tiny else 1


if __name__ == "__main__":
    run_command(main)
