"""The experiments of a root, newest first: their state, their best, age and size.

    python search/list_experiments.py

Reads each experiment's `experiment.json` and `ledger.jsonl`, also while it runs. No torch, no Ray.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.errors import ArgumentParser, UserError, one_line, run_command
from minigpt_search.data.common.files import is_locked
from minigpt_search.data.common.invocation import command_line, program
from minigpt_search.data.common.paths import ANOTHER_ROOT, artifacts_root
from minigpt_search.model.records import DIVERGED, FAILED
from minigpt_search.search.records.experiment import LOCK_FILE, read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.labels import short_label
from minigpt_search.search.results.results import Results

_BROKEN = (UserError, OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError)
"""What a damaged record raises where it is read or, if its parts are sound, where they meet."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of this command."""
    parser = ArgumentParser(
        prog=shlex.join(program("search/list_experiments.py")),
        description="List the experiments, newest first: state, best validation loss, age, size.",
    )
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and what is wrong with what is damaged. Returns the exit status."""
    root = artifacts_root(make_parser().parse_args(argv).out)
    home = root / "experiments"
    folders = [] if not home.is_dir() else [f for f in home.iterdir() if not _is_hidden(f)]
    if not folders:
        begin = command_line("search/run.py", "--grid", "lr", root=root)
        print(f"No experiment in {home}. Begin with: {begin}; or {ANOTHER_ROOT}")
        return 0
    import pandas as pd  # which --help and a mistake need not wait for

    from minigpt_search.search.answer.text_table import as_text

    found = sorted((_row(folder) for folder in folders), key=lambda row: row["age"])
    wrong = [row.pop("wrong") for row in found]
    print(f"In {home}:\n\n{as_text(pd.DataFrame(found))}")
    for row, reason in zip(found, wrong, strict=True):
        if reason is not None:
            print(f"\nDamaged    {row['experiment']}: {one_line(reason)}")
    return 0


def _is_hidden(folder: Path) -> bool:
    """Whether it is no experiment's folder; one that begins with a dot is being made."""
    return folder.name.startswith(".") or not folder.is_dir()


def _row(folder: Path) -> dict[str, Any]:
    """The experiment's row; what is `wrong` with it is None for one that is sound."""
    row: dict[str, Any] = {
        "experiment": folder.name,
        "state": "damaged",
        "val_loss_nats": None,
        "configuration": None,
        "age": _age(folder.stat().st_mtime),
        "size": _size(folder),
        "wrong": None,
    }
    try:
        experiment = read_experiment(folder)
        row["age"] = _age(datetime.datetime.fromisoformat(experiment.created_at).timestamp())
        results = Results(experiment, Ledger(folder / "ledger.jsonl"))
        row["state"] = _state(results, is_locked(folder / LOCK_FILE))
        if (best := results.winner) is not None:
            row["val_loss_nats"] = best.estimate.mean
            row["configuration"] = short_label(experiment, best.configuration.config)
    except _BROKEN as error:
        row |= {"state": "damaged", "wrong": str(error) or type(error).__name__}
    return row


def _state(results: Results, runs: bool) -> str:
    """Such as `complete, 4 trials` or `unfinished, 3 of 5, 1 failed`."""
    done, planned = len(results.ended_ids), results.trials_so_far
    plan = results.experiment.plan
    if plan.sampler is not None and plan.budget_seconds is not None and results.missing_trials:
        count = f"{done} so far"  # as many as fit into the budget
    else:
        count = f"{done} trial{'s' * (done != 1)}" if done == planned else f"{done} of {planned}"
    kind = "running" if runs else "unfinished" if results.missing_trials else "complete"
    bad = [
        f"{number} {status}"
        for status in (DIVERGED, FAILED)
        if (number := sum(trial.status == status for trial in results.trials))
    ]
    return ", ".join([kind, count, *bad])


def _age(since: float) -> float:
    """Seconds from `since`, which are since 1970, until now."""
    return max(0.0, datetime.datetime.now(datetime.UTC).timestamp() - since)


def _size(folder: Path) -> int:
    """Bytes of its files; one that goes while it is looked at, as in a running search, has none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except OSError:
            continue
    return total


if __name__ == "__main__":
    run_command(main)
