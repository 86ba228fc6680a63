"""What every tokenizer can do, and what is the same for all of them.

Every one is lossless: the tokens of a text give its UTF-8 bytes back. And no text makes its
separator, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from minigpt_search.data.tokenizers.record import sha256_of

END_OF_TEXT = "<|endoftext|>"
"""The separator's name, where a tokenizer has none of its own."""
MOST_ENTRIES = 1_000_000
"""The largest vocabulary (`ModelConfig.vocab_size`)."""
UINT16_ENTRIES = 65_536
"""Vocabularies of as many entries and fewer have ids that fit 16 bits."""

Tokens = npt.NDArray[np.uint32]


class Tokenizer(Protocol):
    """Text to token ids and back. It can be pickled."""

    name: str
    """The value of `--tokenizer`; of a file its base name."""
    kind: str
    """One of gpt2, byte, char, bpe, file."""
    vocab_size: int
    """The entries, the separator included; ids are below it."""
    separator: str
    """The name of the separator."""
    separator_token: int
    """The id that stands after each document."""

    def encode(self, text: str) -> Tokens:
        """The token ids of `text` (N,), never the separator nor another special token."""
        ...

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The UTF-8 bytes that the token ids stand for; a separator stands for none."""
        ...

    def record(self) -> dict[str, Any]:
        """What the manifest keeps: name, kind, vocab_size, separator_token, and the SHA-256 of each
        file by name."""
        ...

    def transformers_files(self) -> dict[str, bytes]:
        """The contents of the files, by name, from which `transformers` makes the same one."""
        ...


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The type of token ids in segment files: the narrowest that holds them."""
    return np.dtype(np.uint16 if vocab_size <= UINT16_ENTRIES else np.uint32)


def make_record(tokenizer: Tokenizer, files: Mapping[str, str]) -> dict[str, Any]:
    """`Tokenizer.record` of a tokenizer whose files have these contents, by name."""
    return {
        "name": tokenizer.name,
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "separator_token": tokenizer.separator_token,
        "files": {name: sha256_of(content) for name, content in files.items()},
    }
