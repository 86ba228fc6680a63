"""The command line of `reports/generate.py`, for which no pandas is imported."""

from __future__ import annotations

import argparse
import shlex

from minigpt_search.data.common.errors import ArgumentParser
from minigpt_search.data.common.invocation import program


def report_parser() -> argparse.ArgumentParser:
    """The parser of `reports/generate.py`. Names may stand after flags: it is asked by
    `parse_intermixed_args`."""
    prog = shlex.join(program("reports/generate.py"))
    parser = ArgumentParser(
        prog=prog,
        description="Write the report of an experiment: report.html, report.md, figures, tables.",
        epilog=f"example: {prog} lr-quick",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="the experiment (default: the newest); several are compared",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="write it again whenever a trial ends, until all have or Ctrl-C",
    )
    parser.add_argument(
        "--skip-damaged", action="store_true", help="pass over damaged lines of the ledger"
    )
    parser.add_argument(
        "--out",
        metavar="ROOT",
        help="folder that holds experiments/ (default: MINIGPT_HOME or ./artifacts)",
    )
    return parser
