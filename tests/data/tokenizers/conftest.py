"""Tokenizers of each kind, and tokenizer.json files as they are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minigpt_search.data.tokenizers.base import Tokenizer as OurTokenizer
from minigpt_search.data.tokenizers.choose import make_tokenizer
from minigpt_search.data.tokenizers.gpt2 import bpe_files

TEXT = "The river and the stone, the garden\u2019s voice.\n\tna\u00efve \u4e2d 12,345\n" * 20


@pytest.fixture(scope="session")
def gpt2_file(shared_home: Path) -> Callable[[], Tokenizer]:
    """`gpt2_file()`: GPT-2's encoding as the `tokenizers` library has it, from its files."""
    encoder, merges = bpe_files(shared_home)
    vocabulary = json.loads(encoder.read_text())
    pairs = [tuple(line.split(" ")) for line in merges.read_text().split("\n")[1:-1]]

    def make() -> Tokenizer:
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))  # type: ignore[arg-type]
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        return made

    return make


@pytest.fixture(scope="session")
def every_kind(
    shared_home: Path,
    gpt2_file: Callable[[], Tokenizer],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, OurTokenizer]:
    """A tokenizer of each kind by its name; those that learn have learnt from TEXT."""
    file = tmp_path_factory.mktemp("given") / "some.json"
    made = gpt2_file()
    made.add_special_tokens(["<|begin|>", "</s>"])
    made.save(str(file))
    choices = ("gpt2", "byte", "char", "bpe:300", str(file))
    kept = tmp_path_factory.mktemp("kept")
    return {c: make_tokenizer(c, shared_home, lambda: iter([TEXT]), kept) for c in choices}
