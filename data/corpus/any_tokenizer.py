"""Temporary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigpt_search.data.corpus.tokenizer import FILE_HASHES, get_encoding


class Gpt2:
    vocab_size = 50_257
    separator_token = 50_256

    def __init__(self, root: Path) -> None:
        self.e = get_encoding(root)

    def encode(self, text: str) -> Any:
        return np.array(self.e.encode_ordinary(text), np.uint32)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        return self.e.decode_bytes([t for t in tokens if t != 50_256])

    def record(self) -> dict[str, Any]:
        return {
            "name": "gpt2",
            "vocab_size": 50_257,
            "separator_token": 50_256,
            "files": FILE_HASHES,
        }


class Byte:
    vocab_size = 257
    separator_token = 256

    def encode(self, text: str) -> Any:
        return np.frombuffer(text.encode(), np.uint8)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        return bytes(t for t in tokens if t < 256)

    def record(self) -> dict[str, Any]:
        return {"name": "byte", "vocab_size": 257, "separator_token": 256, "files": {}}


def make_tokenizer(
    choice: str, root: Path, texts: Callable[[], Iterable[str]], folder: Path
) -> Any:
    return Gpt2(root) if choice == "gpt2" else Byte()


def token_dtype(vocab_size: int) -> Any:
    return np.dtype(np.uint16 if vocab_size <= 65_536 else np.uint32)


def check_tokenizer(choice: str) -> None:
    pass
