"""GPT-2's encoding without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken

from minigpt_search.data.tokenizers.gpt2 import (
    SEPARATOR_TOKEN,
    VOCAB_SIZE,
    bpe_files,
    get_encoding,
)

NO_SOCKETS = """
import socket, sys
from pathlib import Path
def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = refuse
from minigpt_search.data.tokenizers.gpt2 import get_encoding
print(get_encoding(Path(sys.argv[1])).encode_ordinary("Hello world"))
"""


def test_it_opens_no_socket(shared_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_SOCKETS, str(shared_home)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[15496, 995]\n"


def test_round_trip_and_the_separator_is_never_made_from_text(shared_home: Path) -> None:
    encoding = get_encoding(shared_home)
    text = "na\u00efve \U0001f41d <|endoftext|> end"
    tokens = encoding.encode_ordinary(text)
    assert encoding.decode(tokens) == text
    assert SEPARATOR_TOKEN not in tokens
    assert encoding.n_vocab == VOCAB_SIZE
    assert encoding.eot_token == SEPARATOR_TOKEN


def test_it_is_tiktoken_s_own(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(bpe_files(shared_home)[0].parent))
    own, theirs = get_encoding(shared_home), tiktoken.get_encoding("gpt2")
    for part in ("_pat_str", "_mergeable_ranks", "_special_tokens", "max_token_value"):
        assert getattr(own, part) == getattr(theirs, part)


def test_files_for_export(root: Path) -> None:
    encoder, merges = bpe_files(root)
    assert len(json.loads(encoder.read_text())) == VOCAB_SIZE
    assert merges.read_text().startswith("#version")
