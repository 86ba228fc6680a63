"""`--config FILE.toml`: flags of `search/run.py` in a file, and the file that repeats a search.

    grid = "lr"
    lr = [3e-4, 1e-3]                  # as --lr 3e-4,1e-3
    space = ["dropout=0", "n_layers=2"]   # as --space dropout=0 --space n_layers=2
    tokens-per-epoch = 20000           # a key is a flag without its dashes, with - or _ inside

Flags of the command line win over those of the file.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.axes import AXES, OFFERED

CONFIG_FILE = "experiment.toml"
"""Its name in an experiment's folder."""
_LISTS = ("grid", "objective", *(axis.name for axis in AXES.values() if axis.has_flag))
"""Flags whose value is a list with commas."""
_NUMBERS = ("pack", "trials_per_gpu")
"""Flags that take a number or a word; the axes' flags do too."""
_OF_ONE_RUN = (
    *("name", "resume", "extend", "config", "dry_run", "skip_damaged", "words"),
    "open",
)
"""What is not repeated."""
_WHOLE = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def with_config(words: Sequence[str]) -> list[str]:
    """The words of a command, those of its `--config FILE` in place of that flag. Raises
    `UserError`, which names the file and the key."""
    now = make_parser().parse_args(words)
    if now.config is None:
        return list(words)
    path = Path(now.config)
    raw = _read(path)
    actions = {action.dest: action for action in make_parser()._actions}
    del actions["help"], actions["config"]
    given: dict[str, list[str]] = {}
    for key, value in raw.items():
        dest = key.replace("-", "_")
        if dest not in actions:
            raise UserError(f"{path}: {key!r}: no such flag; see --help")
        if dest in given:
            raise UserError(f"{path}: {key!r}: is there twice, with - and with _")
        texts = _texts(value, actions[dest], f"{path}: {key!r}")
        try:
            make_parser().parse_args(_words(dest, texts))
        except UserError as error:
            raise UserError(f"{path}: {key!r}: {error}") from None
        given[dest] = texts
    _drop_what_is_given_again(given, now)
    before = [word for dest, texts in given.items() for word in _words(dest, texts)]
    return [*before, *_without_config(words)]


def config_text(args: argparse.Namespace, experiment: Experiment, root: Path) -> str:
    """The file that repeats a search from its beginning.

    Args:
        args: its options, those of `--extend` with what they change.
        experiment: what they came to, so that another machine takes the same preset, and another
            version of the program the same seeds.
        root: of its experiments, as an absolute path; in the file if the options name one.
    """
    parser = make_parser()
    came_to = {"preset": experiment.preset, "paired": experiment.noise.paired}
    known = vars(args) | came_to | {"out": args.out and str(root)}
    name = experiment.name
    lines = [f"# The search {name}. `run --config` with this file begins it again, by a new name."]
    for dest, value in known.items():
        if value != parser.get_default(dest) and dest not in _OF_ONE_RUN:
            lines.append(f"{dest.replace('_', '-')} = {_toml(dest, value)}")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any]:
    """What is in the file. Bytes that are no UTF-8 may be those of a path."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig", errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"--config {path}: can't be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--config {path}: no TOML: {error}") from None


def _texts(value: Any, action: argparse.Action, where: str) -> list[str]:
    """The words that a value of the file is on the command line, one for each time that the flag
    is given; for a switch an empty one, or what goes before its name."""
    several = isinstance(action, argparse._AppendAction)
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UserError(f"{where}: give true or false")
        if isinstance(action, argparse.BooleanOptionalAction):
            return ["" if value else "no-"]
        return [""] if value else []
    if action.type is int or action.type is float:
        number = int if action.type is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, number):
            raise UserError(f"{where}: give a {'whole ' * (number is int)}number, without quotes")
        return [repr(value)]
    is_list = action.dest in _LISTS
    if isinstance(value, list) and (several or is_list):
        texts = [_text(each, is_list, where) for each in value]
        return texts if several else [",".join(texts)]
    return [_text(value, is_list or action.dest in _NUMBERS, where)]


def _text(value: Any, may_be_number: bool, where: str) -> str:
    if isinstance(value, str):
        if "\0" in value:  # as no word of a command line can have
            raise UserError(f"{where}: give text without the character 0")
        return value
    if may_be_number and isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    raise UserError(f"{where}: give {'a number or ' * may_be_number}text in quotes")


def _words(dest: str, texts: Sequence[str]) -> list[str]:
    flag = f"--{dest.replace('_', '-')}"
    if any(action.dest == dest and action.nargs == 0 for action in make_parser()._actions):
        return [flag.replace("--", f"--{text}", 1) for text in texts]
    # With = where the text would be taken for a flag.
    return [w for t in texts for w in ([f"{flag}={t}"] if t.startswith("-") else [flag, t])]


def _drop_what_is_given_again(given: dict[str, list[str]], now: argparse.Namespace) -> None:
    """Leave out of the file's what the command line gives too: of a flag that is given once the
    last counts, but the others would be added to."""
    if now.warm_start is not None:
        given.pop("warm_start", None)
    again = {text.partition("=")[0].strip() for text in now.space or ()}
    again |= {name for name in OFFERED if getattr(now, name, None) is not None}
    for name in again:
        given.pop(name, None)
    if "space" in given:
        kept = [text for text in given["space"] if text.partition("=")[0].strip() not in again]
        given["space"] = kept


def _without_config(words: Sequence[str]) -> list[str]:
    left, skip = [], False
    for word in words:
        if not (skip or word == "--config" or word.startswith("--config=")):
            left.append(word)
        skip = word == "--config"
    return left


def _toml(dest: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_string, value))}]"
    if dest not in _LISTS:
        return _string(value)
    items = [_number(part) or _string(part) for part in value.split(",")]
    return items[0] if len(items) == 1 else f"[{', '.join(items)}]"


def _number(text: str) -> str | None:
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return str(int(text))
    return repr(float(text)) if _DECIMAL.fullmatch(text) else None


def _string(text: str) -> str:
    """A basic string of TOML, which is one of JSON but for the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
