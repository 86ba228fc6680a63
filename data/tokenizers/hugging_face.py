"""Tokenizers of the `tokenizers` library: a user's tokenizer.json, or one that is learnt here.

Nothing in such a file is executed. What its own users add around a text (special tokens, padding,
a limit of length) is left out, and what looks like a special token in a text is text.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.tokenizers.base import (
    END_OF_TEXT,
    MOST_ENTRIES,
    Tokens,
    make_record,
)
from minigpt_search.data.tokenizers.record import BPE, FILE, TOKENIZER_FILE
from minigpt_search.data.tokenizers.simple import BYTE_CHARACTERS

if TYPE_CHECKING:
    import tokenizers

SEPARATORS = (
    *(END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<EOS>", "[EOS]", "<|eos|>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
"""Names of the special token that ends a text, in the files of GPT-2, Llama, Gemma, DeepSeek and
others; the first one that a file has is the separator."""
BYTE_LEVEL, BYTE_FALLBACK = "ByteLevel", "ByteFallback"
_TO_BYTE = {character: byte for byte, character in BYTE_CHARACTERS.items()}
_LARGEST_FILE = 200_000_000
"""Bytes. The largest known has 33 MB."""


class FileTokenizer:
    """A tokenizer by the content of its tokenizer.json."""

    def __init__(
        self, content: str, *, name: str, kind: str, separator: int, source_sha256: str = ""
    ) -> None:
        """`source_sha256` is the hash of the user's file, from which `content` was made; empty for
        one that was learnt. Raises ValueError if the content is no tokenizer."""
        self.name, self.kind, self.separator_token = name, kind, separator
        self.source_sha256 = source_sha256
        self.content = content
        self.library = parse(content)
        ids = self.library.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(ids, default=-1) + 1
        if not 0 <= separator < self.vocab_size <= MOST_ENTRIES:
            raise ValueError(f"{self.vocab_size:,} entries and the separator {separator}")
        self.separator = self.library.id_to_token(separator) or ""

    def encode(self, text: str) -> Tokens:
        return np.array(self.library.encode(text, add_special_tokens=False).ids, np.uint32)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self._bytes[token] for token in tokens)

    def record(self) -> dict[str, Any]:
        record = make_record(self, {TOKENIZER_FILE: self.content})
        return record | {"source_sha256": self.source_sha256} if self.source_sha256 else record

    def transformers_files(self) -> dict[str, bytes]:
        return {TOKENIZER_FILE: self.content.encode()}

    @cached_property
    def decoders(self) -> set[str]:
        """The kinds of its decoder's parts."""
        return {part["type"] for part in parts_of(json.loads(self.content)["decoder"])}

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        """What each token stands for, its place in a text and its neighbours aside."""
        tokens = self.library.get_vocab(with_added_tokens=True)
        found = {number: self._bytes_of(token) for token, number in tokens.items()}
        for number, added in self.library.get_added_tokens_decoder().items():
            found[number] = added.content.encode()
        return found | {self.separator_token: b""}

    def _bytes_of(self, token: str) -> bytes:
        if BYTE_LEVEL in self.decoders and all(character in _TO_BYTE for character in token):
            return bytes(map(_TO_BYTE.__getitem__, token))
        if BYTE_FALLBACK in self.decoders and (byte := _byte_of(token)) is not None:
            return bytes([byte])
        return token.encode()

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.content, self.name, self.kind, self.separator_token, self.source_sha256)
        return _made_again, fields


def _made_again(
    content: str, name: str, kind: str, separator: int, source_sha256: str
) -> FileTokenizer:
    return FileTokenizer(
        content, name=name, kind=kind, separator=separator, source_sha256=source_sha256
    )


@contextmanager
def library_errors() -> Iterator[None]:
    """The library's errors, and its panics, which are no `Exception`, as ValueError."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the library says: {error}") from None


def parse(content: str) -> tokenizers.Tokenizer:
    """The library's tokenizer, which takes special tokens in a text as text. Raises ValueError."""
    from tokenizers import Tokenizer  # not needed for GPT-2's

    with library_errors():
        made = Tokenizer.from_str(content)
    made.encode_special_tokens = True  # is not in the file
    return made


def parts_of(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The parts of a normalizer, pre-tokenizer or decoder in a tokenizer.json: of a sequence all of
    its members."""
    if step is None:
        return []
    for inner in ("normalizers", "pretokenizers", "decoders"):
        if step.get("type") == "Sequence" and inner in step:
            return [part for each in step[inner] for part in parts_of(each)]
    return [step]


def _byte_of(token: str) -> int | None:
    """The number in a token such as `<0x0A>`; None for any other."""
    digits = token[3:5]
    is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return int(digits, 16) if is_byte and set(digits) <= set("0123456789ABCDEF") else None


def read_file(path: Path) -> FileTokenizer:
    """The tokenizer of a user's tokenizer.json, without what would change or lengthen a text that
    can be left out: truncation, padding, post-processing, BPE's dropout, and NFC, which leaves
    most text as it is. A special token for the end of a text is its separator; where it has none, a
    further entry is.

    Raises:
        UserError: the file isn't there or is no tokenizer.json.
    """
    content = _read(path)
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict) or not {"model", "decoder", "added_tokens"} <= set(raw):
            raise ValueError("it lacks model, decoder or added_tokens")
        raw |= dict.fromkeys(("truncation", "padding", "post_processor"))
        if (raw.get("normalizer") or {}).get("type") == "NFC":
            raw["normalizer"] = None
        if raw["model"].get("dropout") is not None:
            raw["model"]["dropout"] = None
        if raw["model"].get("continuing_subword_prefix") and raw["model"].get("type") == "BPE":
            # never of bytes; and the library panics where it is longer than a token
            raise ValueError("its tokens have a prefix within words")
        library = parse(json.dumps(raw, ensure_ascii=False))
        separator = _separator(library)
        return FileTokenizer(
            library.to_str(),
            name=path.name,
            kind=FILE,
            separator=separator,
            source_sha256=hashlib.sha256(content).hexdigest(),
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "its parts are not those of one"
        raise UserError(
            f"--tokenizer {path}: no tokenizer.json that can be used: {reason}"
        ) from None


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UserError(f"--tokenizer {path}: a folder; give the tokenizer.json in it")
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"--tokenizer {path}: too large to be a tokenizer.json")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"--tokenizer {path}: no such file; give gpt2, byte, char, bpe:SIZE or a tokenizer.json"
        ) from None
    except (OSError, ValueError) as error:  # a name that is no file's
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--tokenizer {path}: cannot be read ({reason})") from None


def _separator(library: tokenizers.Tokenizer) -> int:
    """The id of the special token that ends a text, added if there is none. Raises ValueError."""
    special = {
        token.content: number
        for number, token in library.get_added_tokens_decoder().items()
        if token.special
    }
    for name in SEPARATORS:
        if name in special:
            return special[name]
    before = library.get_vocab(with_added_tokens=True)
    library.add_special_tokens([END_OF_TEXT])
    number = library.token_to_id(END_OF_TEXT)
    assert number is not None
    if number in before.values() and END_OF_TEXT not in before:
        raise ValueError("its ids have gaps, so that no separator can be added")
    return number


def learn_bpe(size: int, texts: Iterable[str]) -> FileTokenizer:
    """A byte-level BPE of `size` entries, the separator included, learnt from these texts; fewer
    where no pair of tokens is left that comes twice.

    Text is cut as GPT-2's is, and all 256 bytes are entries, so that any text can be encoded. The
    same texts give the same entries. Source: Sennrich et al. 2016 (arXiv 1508.07909); of bytes:
    Radford et al. 2019 (GPT-2).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    # Said, so that the library doesn't warn of a fork in a process that has learnt.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,  # the separator comes last
        min_frequency=2,
        initial_alphabet=list(BYTE_CHARACTERS.values()),
        special_tokens=[],
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    separator = _separator(library)
    return FileTokenizer(library.to_str(), name=f"bpe:{size}", kind=BPE, separator=separator)
