"""nanoGPT's .bin files: the text that was encoded, or a refusal; a pickle is never opened."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers import token_files
from minigpt_search.data.tokenizers.gpt2 import get_encoding

Read = Callable[..., Any]
END = 50_256


class Harmful:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def encode(shared_home: Path) -> Callable[[str], list[int]]:
    return get_encoding(shared_home).encode_ordinary


@pytest.mark.parametrize("chunk", [7, 64, 1 << 20])
def test_documents_are_what_was_encoded(
    read: Read, shared_home: Path, tmp_path: Path, encode: Any, monkeypatch: Any, chunk: int
) -> None:
    monkeypatch.setattr(token_files, "CHUNK_BYTES", chunk)
    texts = ["Bees fly.\n", "\u4e2d\u6587\U0001f41d caf\u00e9  \t", "x y\n" * 20_000, "last"]
    tokens = [token for text in texts for token in (*encode(text), END)]
    np.array([END, *tokens[:-1]], "<u2").tofile(tmp_path / "train.bin")
    np.array([], "<u2").tofile(tmp_path / "val.bin")
    found = read(tmp_path / "train.bin", shared_home)
    assert found.documents == texts
    (note,) = found.notes
    assert note.startswith("val.bin beside train.bin is not used: `--validation ")
    assert read(tmp_path / "train.bin", shared_home, validation=f"{tmp_path}/val.bin").notes == []


def test_parts_of_characters_are_told(read: Read, shared_home: Path, tmp_path: Path) -> None:
    bee = get_encoding(shared_home).encode_ordinary("a\U0001f41d")
    np.array([*bee[:-1], END, *bee], "<u2").tofile(tmp_path / "a.bin")
    found = read(tmp_path / "a.bin", shared_home)
    assert found.documents == ["a\ufffd", "a\U0001f41d"]
    assert found.notes == ["tokens that are parts of characters are read as U+FFFD: a.bin"]


def test_what_is_refused(read: Read, shared_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    for tokens, message in (
        ([464, 50_257], "byte 2: 50,257 is no token of GPT-2"),
        ([5, 6, 7] * 1000, "all numbers are below 256"),
    ):
        np.array(tokens, "<u2").tofile(path)
        with pytest.raises(UserError, match=rf"train.bin.*{message}"):
            read(path, shared_home)
    path.write_bytes(b"abc")
    with pytest.raises(UserError, match=r"train.bin: an odd number of bytes"):
        read(path, shared_home)
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(Harmful(tmp_path / "opened")))
    path.write_bytes(b"abcd")
    with pytest.raises(UserError, match=r"meta.pkl beside it .* give the text .input.txt. itself"):
        read(path, shared_home)
    assert not (tmp_path / "opened").exists()
