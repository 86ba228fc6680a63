"""The command line of `search/rerun.py`, for which no torch is imported."""

from __future__ import annotations

import argparse
import shlex

from minigpt_search.data.common.errors import ArgumentParser
from minigpt_search.data.common.invocation import program


def rerun_parser() -> argparse.ArgumentParser:
    """The parser of `search/rerun.py`."""
    prog = shlex.join(program("search/rerun.py"))
    parser = ArgumentParser(
        prog=prog,
        description="Train the best configuration of an experiment again and keep its model. "
        f"example: {prog} lr-quick-20261122-180000",
    )
    parser.add_argument("name", nargs="?", help="of the experiment (the newest)")
    parser.add_argument("--trial", metavar="ID", help="another trial than the best's median seed")
    parser.add_argument(
        "--skip-damaged", action="store_true", help="pass over damaged lines of the ledger"
    )
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")
    return parser
