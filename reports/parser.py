"""The command line of `reports/generate.py`, for which no pandas is imported."""

from __future__ import annotations

import argparse
import shlex

from minigpt_search.data.common.errors import ArgumentParser, UserError
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
        "--ladder",
        action="append",
        default=[],
        metavar="LADDER",
        help="beside the claims of NAME what this ladder (of the same corpus) expects of them; "
        "may be given several times",
    )
    watch = parser.add_argument_group("while a search runs")
    watch.add_argument(
        "--watch",
        action="store_true",
        help="a live page instead, on this machine alone, until Ctrl-C: curves, table, time left",
    )
    watch.add_argument("--port", type=int, metavar="N", help="of the live page (a free one)")
    watch.add_argument("--open", action="store_true", help="show the live page in a browser")
    watch.add_argument(
        "--file",
        action="store_true",
        help="with --watch: no server; live.html, and the report's files whenever a trial ends, "
        "until all have or Ctrl-C",
    )
    watch.add_argument("--socket", type=int, help=argparse.SUPPRESS)  # of `run --open`
    parser.add_argument(
        "--skip-damaged", action="store_true", help="pass over damaged lines of the ledger"
    )
    parser.add_argument(
        "--out",
        metavar="ROOT",
        help="folder that holds experiments/ (default: MINIGPT_HOME or ./artifacts)",
    )
    return parser


def check_watching(options: argparse.Namespace) -> None:
    """Raise `UserError` for flags of `--watch` that don't go together."""
    of_page = [
        flag
        for flag, given in (("--port", options.port is not None), ("--open", options.open))
        if given
    ]
    for flag in [*of_page, *(["--file"] if options.file else [])]:
        if not options.watch:
            raise UserError(f"{flag} goes with --watch")
    if options.file and of_page:
        raise UserError(f"{of_page[0]} is of the live page, which --file does without")
    if options.port is not None and not 0 < options.port < 65536:
        raise UserError(f"--port {options.port}: give a number from 1 to 65535")
    if options.ladder and (len(options.names) > 1 or options.watch):
        raise UserError("--ladder goes with the report of one experiment, without --watch")
    if len(options.names) > 1 and options.watch:
        raise UserError(f"{' '.join(options.names)}: --watch is for one experiment")
