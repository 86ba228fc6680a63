"""nanoGPT's train.bin and val.bin: GPT-2 tokens in two bytes each, little-endian, as text again.

Documents end with token 50,256. A meta.pkl beside one means characters instead of GPT-2's tokens;
it is never opened, as unpickling runs what is in it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from minigpt_search.data.common.documents import Piece
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.pieces import documents
from minigpt_search.data.sources.readers.reading import Reading
from minigpt_search.data.tokenizers.gpt2 import SEPARATOR_TOKEN, VOCAB_SIZE, get_encoding

CHUNK_BYTES = 512 * 1024
BYTE_TOKENS = 256
"""GPT-2's tokens below are single bytes: no text of some length has no others."""
FEW_TOKENS = 1000


def check_token_file(path: Path, where: str) -> None:
    """Raise `UserError` for a file that is no GPT-2 tokens by what is beside it and its size."""
    meta = path.with_name("meta.pkl")
    if meta.exists():
        raise UserError(
            f"{where}: {meta.name} beside it says that its numbers are characters, not GPT-2's "
            "tokens, and is not opened, as a pickle may run code: give the text (input.txt) itself"
        )
    if path.suffix.lower() == ".bin" and path.stat().st_size % 2:
        raise UserError(f"{where}: an odd number of bytes: tokens of two bytes each are expected")


def read_tokens(
    stream: IO[bytes], where: str, name: str, reading: Reading
) -> Iterator[str | Piece]:
    """Yield the documents of a file of tokens.

    Raises:
        UserError: it holds what are no tokens of GPT-2.
    """
    decode = get_encoding(reading.root).decode_bytes
    utf_8 = codecs.getincrementaldecoder("utf-8")

    def text_of(tokens: np.ndarray, decoder: codecs.IncrementalDecoder, ends: bool) -> str:
        content = decode(tokens.tolist())
        state = decoder.getstate()
        try:
            return decoder.decode(content, ends)
        except UnicodeDecodeError:
            reading.tell("tokens that are parts of characters are read as U+FFFD", name)
            decoder.setstate(state)
            decoder.errors = "replace"
            return decoder.decode(content, ends)

    def parts() -> Iterator[str | None]:
        decoder = utf_8()
        for tokens in _tokens(stream, where):
            start = 0
            for end in np.flatnonzero(tokens == SEPARATOR_TOKEN).tolist():
                yield text_of(tokens[start:end], decoder, True)
                yield None
                decoder, start = utf_8(), end + 1
            yield text_of(tokens[start:], decoder, False)
        yield text_of(np.array([], np.uint16), decoder, True)
        yield None

    found = parts()
    has_more = True

    def one_document() -> Iterator[str]:
        nonlocal has_more
        for part in found:
            if part is None:
                return
            yield part
        has_more = False

    while has_more:
        yield from documents(one_document(), reading.spec.separator)


def _tokens(stream: IO[bytes], where: str) -> Iterator[np.ndarray]:
    """Yield the tokens of a file in arrays."""
    offset, rest, largest = 0, b"", 0
    while chunk := stream.read(CHUNK_BYTES):
        chunk = rest + chunk
        rest = chunk[len(chunk) // 2 * 2 :]
        tokens = np.frombuffer(chunk[: len(chunk) - len(rest)], "<u2")
        wrong = np.flatnonzero(tokens >= VOCAB_SIZE)
        if len(wrong):
            raise UserError(
                f"{where}, byte {offset + 2 * int(wrong[0]):,}: {tokens[wrong[0]]:,} is no token "
                f"of GPT-2, whose last is {VOCAB_SIZE - 1:,}: a .bin is read as nanoGPT writes it, "
                "two bytes a token; give the text itself"
            )
        if len(tokens) >= FEW_TOKENS and not tokens[1::2].any():
            raise UserError(
                f"{where}: every second number is 0, as in a file of four bytes a token; two bytes "
                "each are expected: give the text itself"
            )
        largest = max(largest, int(tokens.max(initial=0)))
        if len(tokens) >= FEW_TOKENS and largest < BYTE_TOKENS:
            raise UserError(
                f"{where}: all numbers are below {BYTE_TOKENS}, which are characters or bytes, not "
                "GPT-2's tokens: give the text (input.txt) itself"
            )
        yield tokens
        offset += len(tokens) * 2
    if rest:
        raise UserError(f"{where}: an odd number of bytes: tokens of two bytes each are expected")
