"""The command lines of `model/generate.py` and `model/export.py`; no torch is imported."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from minigpt_search.data.common.errors import ArgumentParser
from minigpt_search.data.common.invocation import program

_OUT = "its downloads/ has GPT-2's tokenizer ($MINIGPT_HOME, or ./artifacts)"


def generate_parser() -> argparse.ArgumentParser:
    """The parser of `model/generate.py`. The prompt may stand after flags: it is asked by
    `parse_intermixed_args`."""
    prog = shlex.join(program("model/generate.py"))
    parser = ArgumentParser(
        prog=prog,
        description=f'example: {prog} final.pt "The president said" --tokens 50',
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("prompt", nargs="?", default="")
    parser.add_argument("--tokens", type=int, default=100, metavar="N", help="at most (100)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (0.8)")
    parser.add_argument("--top-k", type=int, metavar="K", help="keep the K likeliest (all)")
    parser.add_argument("--top-p", type=float, default=0.95, help="keep this probability (0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing (0)")
    parser.add_argument("--out", metavar="FOLDER", help=_OUT)
    return parser


def export_parser() -> argparse.ArgumentParser:
    """The parser of `model/export.py`."""
    prog = shlex.join(program("model/export.py"))
    parser = ArgumentParser(prog=prog, description=f"example: {prog} final.pt exported")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path, help="new, for transformers' from_pretrained")
    parser.add_argument("--out", metavar="FOLDER", help=_OUT)
    return parser
