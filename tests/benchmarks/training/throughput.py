"""Tokens a second of this project's training step, of its peers at the same shape, and of the floor
under all of them, taken in turns in one run; with peak memory and the agreement of their losses.

python tests/benchmarks/training/throughput.py --json throughput.json --figure throughput.png
python tests/benchmarks/training/throughput.py --quick               # seconds: does it work at all?
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

from json_file import write_json
from peers import KINDS, chosen, precision_of
from synthetic_corpus import VOCAB_SIZE, write_synthetic_corpus
from throughput_results import Result, faults, result_of
from throughput_table import as_markdown, figure
from turns import Answers, Child, take_turns

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.machine import usable_cores
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.device import hardware, versions
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.search.cli.make_experiment import corpus_if_prepared, prepare_builtin
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.records.provenance import git_commit


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/benchmarks/training/throughput.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--embed", metavar="WIDTHS", help="default: 128,256,512")
    parser.add_argument("--contenders", metavar="NAMES", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each (default: 5)")
    parser.add_argument("--steps", type=int, metavar="N", help="in a turn (default: 4; cuda: 100)")
    parser.add_argument("--threads", type=int, metavar="N", help="of each (default: all cores)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--figure", type=Path, metavar="PATH")
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts: the corpus")
    parser.add_argument("--quick", action="store_true", help="a tiny model, nothing compiled")
    args = parser.parse_args()
    args.device = LocalMachines().device(args.device)
    args.threads = args.threads or usable_cores()
    args.rounds = args.rounds or (2 if args.quick else 5)
    args.steps = args.steps or (2 if args.quick else 100 if args.device == "cuda" else 4)
    for name in ("threads", "rounds", "steps"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: give 1 or more")
    args.names, args.left_out = chosen(args.contenders, args.device, quick=args.quick)
    args.widths = _widths(args.embed or ("32" if args.quick else "128,256,512"))
    return args


def _widths(text: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(width) for width in text.split(",")))
    except ValueError:
        raise UserError(f"--embed {text}: give widths like 128,256") from None


def base_config(quick: bool) -> RunConfig:
    """The recipe; for `--quick` the same in miniature."""
    if not quick:
        return RunConfig()
    return RunConfig().replace(vocab_size=VOCAB_SIZE, seq_len=16, batch_size=4, warmup_steps=10)


def corpus_folder(args: argparse.Namespace, temporary: Path) -> Path:
    """The built-in corpus, prepared if it is not there; for `--quick` one of made-up tokens."""
    if args.quick:
        write_synthetic_corpus(temporary / "corpus", train_tokens=4000)
        return temporary / "corpus"
    root = artifacts_root(args.out)
    return (corpus_if_prepared(root, "builtin") or prepare_builtin(root)).folder


def measure(
    config: RunConfig, corpus: Path, args: argparse.Namespace, tell: Callable[[Result], None]
) -> None:
    """Tell of all contenders at one shape, after each round: a result with `contenders`,
    `floor_tokens_per_second`, …"""
    fields: dict[str, Any] = {"corpus": str(corpus), "device": args.device, "threads": args.threads}
    specs = [
        {
            "name": name,
            "config": config.replace(precision=precision_of(name, args.device)).to_dict(),
        }
        for name in args.names
    ]
    specs.append({"name": "products", "config": config.to_dict()})
    turns = {name: {"steps": args.steps} for name in args.names} | {"products": {}}
    with ExitStack() as stack:
        children = [stack.enter_context(Child(spec | fields)) for spec in specs]

        def after_round(answers: Answers, failures: dict[str, str]) -> None:
            idle_shares = {child.name: child.idle_share for child in children}
            tell(result_of(config, args, answers, failures, idle_shares))

        take_turns(children, turns, args.rounds, after_round)


def summary(results: list[Result], args: argparse.Namespace, *, complete: bool) -> Result:
    """The JSON's content; not `complete` while rounds are left."""
    floors = {str(r["embed_dim"]): r["floor_tokens_per_second"] for r in results}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "tests/benchmarks/training/throughput.py", *sys.argv[1:]]),
        "git_commit": git_commit(),
        "machine": hardware(),
        "device": args.device,
        "threads": args.threads,
        "versions": versions() | _peer_versions(),
        "shape": base_config(args.quick).to_dict(),
        "rounds": args.rounds,
        "steps_per_turn": args.steps,
        "complete": complete,
        "left_out": args.left_out,
        "contenders": [contender for r in results for contender in r["contenders"]],
        "floor_tokens_per_second": floors.get("128", next(iter(floors.values()))),
        "floors": floors,
        "flops_per_token": {
            width: flops_per_token(base_config(args.quick).replace(embed_dim=int(width)).model)
            for width in floors
        },
        "shapes": [{k: v for k, v in r.items() if k != "contenders"} for r in results],
    }


def _peer_versions() -> dict[str, str]:
    found = {}
    for package in ("transformers", "x-transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> int:
    args = parse_arguments()
    configs = [base_config(args.quick).replace(embed_dim=width) for width in args.widths]
    for name, reason in args.left_out.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    results: dict[int, Result] = {}
    with tempfile.TemporaryDirectory() as temporary:
        corpus = corpus_folder(args, Path(temporary))

        def tell(result: Result) -> None:
            results[result["embed_dim"]] = result
            keep(list(results.values()), args, complete=False)  # for a run that is cut short

        for config in configs:
            measure(config, corpus, args, tell)
            print(as_markdown(results[config.model.embed_dim]), flush=True)
    keep(list(results.values()), args, complete=True)
    if args.figure:
        figure(list(results.values())).savefig(args.figure, dpi=150)
    found = faults(list(results.values()))
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if found else 0


def keep(results: list[Result], args: argparse.Namespace, *, complete: bool) -> None:
    """Write the JSON, if one was asked for."""
    if args.json:
        write_json(args.json, summary(results, args, complete=complete))


if __name__ == "__main__":
    run_command(main)
