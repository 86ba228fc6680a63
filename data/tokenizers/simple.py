"""Tokenizers whose vocabulary is read off the text: its bytes, or its characters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.tokenizers.base import (
    END_OF_TEXT,
    MOST_ENTRIES,
    Tokens,
    make_record,
)
from minigpt_search.data.tokenizers.record import BYTE, CHAR, TOKENIZER_FILE

_CODE_POINTS = 0x110000
"""Of Unicode."""
BYTES = 256
_PRINTABLE = [byte for byte in range(BYTES) if chr(byte).isprintable() and byte != ord(" ")]
_OTHERS = [byte for byte in range(BYTES) if byte not in _PRINTABLE]
BYTE_CHARACTERS = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(BYTES + rank) for rank, byte in enumerate(_OTHERS)
}
"""Bytes as GPT-2 and the byte-level tokenizers after it write them: each as the character of its
number, or, where that is not printable, as one of those from 256 on."""


class ByteTokenizer:
    """The 256 bytes of UTF-8, each its own id, and the separator."""

    name = kind = BYTE
    vocab_size = BYTES + 1
    separator = END_OF_TEXT
    separator_token = BYTES

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        ids = np.asarray(tokens, np.uint32)
        return ids[ids != self.separator_token].astype(np.uint8).tobytes()

    def record(self) -> dict[str, Any]:
        return make_record(self, {})

    def transformers_files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: self.to_json().encode()}

    def to_json(self) -> str:
        """The content of a tokenizer.json."""
        vocabulary = {BYTE_CHARACTERS[byte]: byte for byte in range(BYTES)}
        pieces = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        byte_level = {**pieces, "use_regex": False}
        return _library_json(
            vocabulary, pre_tokenizer=byte_level, decoder=byte_level, byte_fallback=False
        )


class CharTokenizer:
    """The characters of the text that it was made from, the 256 bytes, and the separator.

    A character that was not in that text, which a validation text may have, is the bytes of its
    UTF-8, a token each: so no text is lost, and those tokens are trained on by no other.
    """

    name = kind = CHAR
    separator = END_OF_TEXT

    def __init__(self, characters: str) -> None:
        """`characters`: each one once. Their ids are their places in it."""
        self.characters = characters
        self.separator_token = len(characters) + BYTES
        self.vocab_size = self.separator_token + 1
        points = _code_points(characters)
        self._ids = np.full(_CODE_POINTS, -1, np.int32)
        self._ids[points] = np.arange(len(points))
        self._bytes = [character.encode() for character in characters]
        self._bytes += [bytes([byte]) for byte in range(BYTES)] + [b""]

    @classmethod
    def learn(cls, texts: Iterable[str]) -> CharTokenizer:
        """The tokenizer of these texts' characters, in the order of their code points."""
        found = np.zeros(_CODE_POINTS, bool)
        for text in texts:
            found[_code_points(text)] = True
        made = cls("".join(map(chr, np.flatnonzero(found))))
        if made.vocab_size > MOST_ENTRIES:
            raise UserError("--tokenizer char: the text has too many characters; take byte")
        return made

    @classmethod
    def from_json(cls, content: str) -> CharTokenizer:
        """The inverse of `to_json`. Raises ValueError, KeyError, TypeError or AttributeError for
        something else."""
        vocabulary = json.loads(content)["model"]["vocab"]
        ids = {text: number for text, number in vocabulary.items() if len(text) == 1}
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("its characters' ids are not 0, 1, 2, ...")
        return cls("".join(sorted(ids, key=ids.__getitem__)))

    def encode(self, text: str) -> Tokens:
        points = _code_points(text)
        ids = self._ids[points]
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            first_byte = len(self.characters)
            pieces = [
                [first_byte + byte for byte in chr(points[place]).encode()] for place in unknown
            ]
            # In each one's place its bytes: inserted before it, and itself taken out.
            counts = list(map(len, pieces))
            ids = np.insert(ids, np.repeat(unknown, counts), np.concatenate(pieces))
            ids = ids[ids >= 0]
        return ids.astype(np.uint32)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self._bytes[token] for token in tokens)

    def record(self) -> dict[str, Any]:
        return make_record(self, {TOKENIZER_FILE: self.to_json()})

    def transformers_files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: self.to_json().encode()}

    def to_json(self) -> str:
        """The content of a tokenizer.json."""
        vocabulary = {character: number for number, character in enumerate(self.characters)}
        first_byte = len(self.characters)
        vocabulary |= {f"<0x{byte:02X}>": first_byte + byte for byte in range(BYTES)}
        decoders: list[dict[str, str]] = [{"type": "ByteFallback"}, {"type": "Fuse"}]
        decoder = {"type": "Sequence", "decoders": decoders}
        return _library_json(vocabulary, pre_tokenizer=None, decoder=decoder, byte_fallback=True)

    def __reduce__(self) -> tuple[type[CharTokenizer], tuple[str]]:
        return type(self), (self.characters,)


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _library_json(
    vocabulary: Mapping[str, int],
    *,
    pre_tokenizer: Mapping[str, Any] | None,
    decoder: Mapping[str, Any],
    byte_fallback: bool,
) -> str:
    """The content of a `tokenizer.json` without merges: each character is a token, or its bytes
    are; the separator has the id after the vocabulary's."""
    separator = {
        "id": len(vocabulary),
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": byte_fallback,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [],
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [separator],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(content, ensure_ascii=False)
