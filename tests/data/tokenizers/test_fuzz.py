"""Damaged and odd tokenizer.json files: a line that names the file, or a tokenizer that loses
nothing."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.tokenizers.choose import make_tokenizer

ROUNDS = 40 * int(os.environ.get("MINIGPT_FUZZ", 1))
TEXT = "the river \u4e2d\n\tand the stone <|endoftext|> 12 e\u0301"
ODD = [
    *(None, 0, -1, 1.5, True, 2**40, 10**30, "", "x", "\u2581", "Removed", "abc" * 999),
    *([], ["a"], [["a", "b"]], {}, {"type": "ByteLevel"}, {"type": "Sequence"}, {"Regex": "(("}),
]


def changed(node: Any, chance: random.Random) -> Any:
    """`node` with one value somewhere in it gone or another."""
    if isinstance(node, dict) and node and chance.random() < 0.9:
        key = chance.choice(list(node))
        rest = {name: value for name, value in node.items() if name != key}
        return rest if chance.random() < 0.15 else {**node, key: changed(node[key], chance)}
    if isinstance(node, list) and node and chance.random() < 0.8:
        place = chance.randrange(len(node))
        return [*node[:place], changed(node[place], chance), *node[place + 1 :]]
    return chance.choice(ODD)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    make_tokenizer("bpe:280", folder, lambda: iter([TEXT * 9]), folder)
    return (folder / "tokenizer.json").read_bytes()


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        made = make_tokenizer(str(path), path.parent, lambda: iter([]), path.parent)
    except UserError as error:
        assert str(error).startswith(f"--tokenizer {path}: ") and "\n" not in str(error)
    else:
        assert made.decode_bytes(made.encode(TEXT).tolist()) == TEXT.encode()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_odd_values(whole: bytes, tmp_path: Path, seed: int) -> None:
    chance, content = random.Random(seed), json.loads(whole)
    for _ in range(chance.randint(1, 3)):
        content = changed(content, chance)
    check(tmp_path / "odd.json", json.dumps(content).encode())


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_other_bytes_and_an_early_end(whole: bytes, tmp_path: Path, seed: int) -> None:
    chance, content = random.Random(seed), bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        content[chance.randrange(len(content))] = chance.choice([*range(32, 127), 0, 10, 200])
    if chance.random() < 0.3:
        del content[chance.randrange(len(content)) :]
    check(tmp_path / "damaged.json", bytes(content))


def test_a_prefix_within_words_is_refused(whole: bytes, tmp_path: Path) -> None:
    content = json.loads(whole)
    content["model"]["continuing_subword_prefix"] = "##"
    (tmp_path / "prefix.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="a prefix within words"):
        make_tokenizer(str(tmp_path / "prefix.json"), tmp_path, lambda: iter([]), tmp_path)
