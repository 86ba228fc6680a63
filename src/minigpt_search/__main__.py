"""The command `minigpt-search`, as pip installs it: each subcommand is one of the scripts.

minigpt-search run --grid lr                # search/run.py; python -m minigpt_search is the same
minigpt-search run --help
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from typing import NoReturn

import minigpt_search
from minigpt_search.data.common.errors import ArgumentParser, run_command
from minigpt_search.data.common.invocation import PROGRAM, SUBCOMMANDS, installed_command
from minigpt_search.data.common.paths import artifacts_root, ensure_temporary_folder


@dataclass(frozen=True, kw_only=True)
class Subcommand:
    """One subcommand: what it does, and where its parser is, without what the rest imports."""

    does: str
    parser: str
    """Module and function of the parser."""
    intermixed: bool = False
    """Whether names may stand between flags."""


_ABOUT = {
    "run": Subcommand(
        does="search a small GPT's hyperparameters, and say which are best",
        parser="search.cli.parser:make_parser",
    ),
    "rerun": Subcommand(
        does="train the best of an experiment again, compare, score the test split",
        parser="search.cli.rerun_parser:rerun_parser",
    ),
    "report": Subcommand(
        does="write the report of an experiment, or of several side by side",
        parser="reports.parser:report_parser",
        intermixed=True,
    ),
    "sample": Subcommand(
        does="sample text from a checkpoint",
        parser="model.parsers:generate_parser",
        intermixed=True,
    ),
    "export": Subcommand(
        does="write a checkpoint as a folder that `transformers` loads",
        parser="model.parsers:export_parser",
    ),
    "prepare": Subcommand(does="make a corpus of any text", parser="data.prepare:make_parser"),
    "list": Subcommand(
        does="the experiments: their state, their best, their age",
        parser="search.list_experiments:make_parser",
    ),
}


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, _ABOUT))
    lines = [f"  {name:<{width}}  {about.does}" for name, about in _ABOUT.items()]
    called = " ".join(installed_command() or [PROGRAM])
    parser = ArgumentParser(
        prog=called,
        description="Which learning rate, how many epochs, which width? Searched for a small "
        "GPT.\n\ncommands:\n" + "\n".join(lines),
        epilog=f"example: {called} run --grid lr\neach command has --help",
        allow_abbrev=False,
    )
    version = f"{PROGRAM} {minigpt_search.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "command", choices=_ABOUT, metavar="COMMAND", help=f"one of {', '.join(_ABOUT)}"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its own")
    return parser


def _command() -> int:
    given = _parser().parse_args()
    about = _ABOUT[given.command]
    module, function = about.parser.split(":")
    parser = getattr(importlib.import_module(f"{minigpt_search.__name__}.{module}"), function)()
    # --help and mistakes come before what takes seconds to import.
    parse = parser.parse_intermixed_args if about.intermixed else parser.parse_args
    ensure_temporary_folder(artifacts_root(parse(given.arguments).out))
    [script] = (script for script, name in SUBCOMMANDS.items() if name == given.command)
    module = script.removesuffix(".py").replace("/", ".")
    status: int = importlib.import_module(f"{minigpt_search.__name__}.{module}").main(
        given.arguments
    )
    return status


def main() -> NoReturn:
    """Run the command, and end the process with its exit status."""
    run_command(_command)


if __name__ == "__main__":
    main()
