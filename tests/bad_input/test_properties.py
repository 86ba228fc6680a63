"""No command line, configuration or JSON ends in anything but success or one line (hypothesis).

MINIGPT_FUZZ=20 python -m pytest tests/bad_input/test_properties.py -s     # 20 times the examples
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.checked_json import seal, unseal
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.manifest import Manifest
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.ledger_lines import decode

TIMES = int(os.environ.get("MINIGPT_FUZZ", "1"))


def examples(n: int) -> settings:
    unhurried = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=n * TIMES,
        deadline=None,
        suppress_health_check=unhurried,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    )


NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "1e-3",
    "1e999",
    "nan",
    "inf",
    "-0",
    "1_0",
    "٣",
    "²",
    "x",
)
LISTS = ("1e-3,2e-3", "1,2", "64,128", "130", "8,16", ",", "1,,2", "1;2", " 1", "1e-3,nan", "10")
NAMES = (
    "lr",
    "epochs",
    "embed_dim,lr",
    "seq_len",
    "lr,lr",
    "small",
    "tiny",
    "done",
    "begun",
    "../x",
)
# What can't stand on a command line is a NUL; bytes that are no UTF-8 come as lone surrogates.
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=12) | st.text("\udc80\udcff/.,-a")
VALUES = st.sampled_from(
    [*NUMBERS, *LISTS, *NAMES, "", "auto", "tpe", "quick", "full", "cpu", "9" * 99]
)


def words(flags: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """Any flags with any values, joined by `=` or not, and words that belong to none."""
    flag = st.sampled_from(flags)
    pair = st.tuples(flag, VALUES | TEXTS)
    part = st.one_of(
        pair.map(list),
        pair.map(list),
        pair.map(lambda p: [f"{p[0]}={p[1]}"]),
        flag.map(lambda name: [name]),
        (VALUES | TEXTS).map(lambda text: [text]),
    )
    return st.lists(part, max_size=5).map(lambda parts: [word for part in parts for word in part])


def flags_of(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    return tuple(flag for action in parser._actions for flag in action.option_strings)


RUN_FLAGS = tuple(set(flags_of(make_parser())) - {"--dry-run"})
"""`--resume` is refused beside `--dry-run`, which every example has."""


@given(
    given_words=words(RUN_FLAGS), begin=st.sampled_from([[], ["--grid", "lr"], ["--lr", "1e-3"]])
)
@examples(150)
def test_search(lasting_attempt: Any, given_words: list[str], begin: list[str]) -> None:
    lasting_attempt("search/run.py", "--corpus", "small", *begin, *given_words, "--dry-run")


@given(given_words=words(("--out", "--skip-damaged", "-h", "--help")), script=st.booleans())
@examples(40)
def test_rerun_and_report(lasting_attempt: Any, given_words: list[str], script: bool) -> None:
    # An experiment that can be rerun is not named here: it would train.
    given_words = [word for word in given_words if word != "done"]
    name = "search/rerun.py" if script else "reports/generate.py"
    lasting_attempt(name, "begun", *given_words)


ELSEWHERE = {"may_download": True}
"""With another `--out`, the tokenizer's files are not there yet."""
GENERATE_FLAGS = ("--tokens", "--temperature", "--top-k", "--top-p", "--seed", "--out")


@given(given_words=words(GENERATE_FLAGS), name=st.sampled_from(["final.pt", "tiny.pt", "no.pt"]))
@examples(60)
def test_generate(lasting_attempt: Any, given_words: list[str], name: str) -> None:
    home = os.environ["MINIGPT_HOME"]
    lasting_attempt(
        "model/generate.py", f"{home}/{name}", *given_words, "--tokens", "2", **ELSEWHERE
    )


@given(given_words=words(("--out", "--help")), name=st.sampled_from(["final.pt", "tiny.pt"]))
@examples(25)
def test_export(lasting_attempt: Any, given_words: list[str], name: str) -> None:
    home = os.environ["MINIGPT_HOME"]
    lasting_attempt("model/export.py", f"{home}/{name}", *given_words, **ELSEWHERE)


PREPARE_FLAGS = (
    *("--source", "--name", "--tokens", "--eval-tokens", "--segments", "--seed", "--text-column"),
    *("--filter", "--duplicates", "--separator", "--tokenizer", "--validation", "--template"),
    *("--validation-share", "--bad-rows", "--out", "--quiet", "--verify"),
)


@given(given_words=words(PREPARE_FLAGS))
@examples(50)
def test_prepare(lasting_attempt: Any, prose: Path, given_words: list[str]) -> None:
    given_words = [word for word in given_words if not word.startswith(("hub:", "builtin"))]
    lasting_attempt(
        "data/prepare.py",
        "--source",
        str(prose),
        *given_words,
        "--quiet",
        "--workers",
        "1",
        **ELSEWHERE,
    )


NUMBER = st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400)
JSON = st.recursive(
    NUMBER | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = [field.name for cls in (ModelConfig, TrainConfig) for field in dataclasses.fields(cls)]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.integers(1, 500) | st.floats(0, 1)))
@examples(300)
def test_any_configuration_is_valid_or_refused(fields: dict[str, Any]) -> None:
    try:
        config = RunConfig().replace(**fields)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))) == config


@given(JSON, st.sampled_from(FIELDS), JSON)
@examples(200)
def test_any_json_is_a_configuration_or_refused(raw: Any, name: str, value: Any) -> None:
    whole = RunConfig().to_dict()
    whole["model" if name in whole["model"] else "train"][name] = value
    for candidate in (raw, {"model": raw, "train": raw}, whole):
        try:
            RunConfig.from_dict(candidate)
        except UserError:
            continue


def changed_somewhere(raw: Any, place: list[int], value: Any) -> Any:
    """`raw` with another value at some depth."""
    if not place or not isinstance(raw, dict | list) or not raw:
        return value
    keys = sorted(raw) if isinstance(raw, dict) else range(len(raw))
    key = keys[place[0] % len(keys)]
    inner = changed_somewhere(raw[key], place[1:], value)
    if isinstance(raw, dict):
        return {**raw, key: inner}
    return [*raw[:key], inner, *raw[key + 1 :]]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), JSON)
@examples(300)
def test_any_json_in_the_place_of_a_value(template: Path, place: list[int], value: Any) -> None:
    """Under a checksum that is right: ledger line, experiment and manifest, each by its reader."""
    done = template / "experiments" / "done"
    line = unseal(json.loads((done / "ledger.jsonl").read_bytes().splitlines()[0]))
    manifest = unseal(json.loads((template / "corpus/small/manifest.json").read_bytes()))
    try:
        text = json.dumps(seal(changed_somewhere(line, place, value)))
        decode(text.encode())
    except (ValueError, TypeError) as error:  # TypeError: `seal` of what is no object
        assert isinstance(error, ValueError) or not isinstance(value, dict)
    with contextlib.suppress(UserError):
        Manifest.from_dict(changed_somewhere(manifest, place, value))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=3), JSON)
@example([22, 7], 10**600)  # found by a run: a size that no float can hold
@examples(25)
def test_an_experiment_of_another_program_is_refused_or_reported(
    lasting_attempt: Any, template: Path, place: list[int], value: Any
) -> None:
    raw = unseal(json.loads((template / "experiments/done/experiment.json").read_bytes()))
    changed = changed_somewhere(raw, place, value)
    home = Path(os.environ["MINIGPT_HOME"])
    folder = home / "experiments" / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template / "experiments" / "done", folder)
    try:
        text = json.dumps(seal(changed), allow_nan=False)
    except ValueError:
        text = json.dumps(changed)
    (folder / "experiment.json").write_text(text)
    lasting_attempt("reports/generate.py", "odd")
