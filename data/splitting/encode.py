"""The tokens of pieces of text: those that the table has already, or made now by the tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from minigpt_search.data.splitting.document_table import DocumentTable
from minigpt_search.data.splitting.splits import Pieces

Ints = npt.NDArray[np.int64]


class Encoder(Protocol):
    """What makes tokens of text, as far as it is needed here."""

    def encode(self, text: str) -> Sequence[int] | npt.NDArray[Any]:
        """The tokens of a text."""
        ...

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The UTF-8 text of tokens."""
        ...


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The tokens of M pieces."""

    tokens: npt.NDArray[Any]
    """Tokens in a row, in a file that is mapped."""
    extra: npt.NDArray[Any]
    """Tokens of the few pieces that are not there."""
    offsets: Ints
    """(M,) Where those of each piece begin, counted through both."""
    lengths: Ints
    """(M,) How many each piece has, without a separator."""

    def take(self, chosen: Ints) -> Encoded:
        """Those of some of the pieces, in the order of the indices."""
        return replace(self, offsets=self.offsets[chosen], lengths=self.lengths[chosen])

    def part(self, start: int, count: int) -> npt.NDArray[Any]:
        """So many tokens of one piece, from `start` on."""
        held = len(self.tokens)
        if start >= held:
            return self.extra[start - held : start - held + count]
        return self.tokens[start : start + count]


class TableText:
    """The text of a table's rows, whose tokens are GPT-2's or the bytes of the text."""

    def __init__(
        self, table: DocumentTable, decode: Callable[[Sequence[int]], bytes] | None
    ) -> None:
        """`decode` is GPT-2's; None: tokens are bytes."""
        self._tokens, self._decode = table.tokens(), decode
        self._ends = np.cumsum(table.lengths)
        self._lengths = table.lengths
        self.of_row = lru_cache(maxsize=16)(self._of_row)

    def _of_row(self, row: int) -> bytes:
        end = int(self._ends[row])
        tokens = self._tokens[end - int(self._lengths[row]) : end]
        if self._decode is None:
            return tokens.astype(np.uint8).tobytes()
        return self._decode(tokens.tolist())

    def of_piece(self, pieces: Pieces, index: int) -> str:
        """The text of one piece."""
        start, stop = int(pieces.starts[index]), int(pieces.stops[index])
        return self.of_row(int(pieces.rows[index]))[start:stop].decode()


def encode_pieces(
    pieces: Pieces,
    table: DocumentTable,
    text: TableText,
    encoder: Encoder,
    path: Path,
    dtype: npt.DTypeLike,
    *,
    table_has_tokens: bool,
    progress: Any,
) -> Encoded:
    """Encode pieces into a file.

    Args:
        text: the text of the table's rows.
        path: the file to write, mapped in the result.
        dtype: of the tokens.
        table_has_tokens: whether the table has the tokens of `encoder`, so that only pieces of rows
            need to be encoded.
        progress: a bar that counts bytes of text.
    """
    if table_has_tokens:
        return _with_row_tokens(pieces, table, text, encoder, dtype, progress)
    offsets, lengths = np.zeros(len(pieces), np.int64), np.zeros(len(pieces), np.int64)
    written = 0
    with path.open("wb") as file:
        for index in range(len(pieces)):
            tokens = np.asarray(encoder.encode(text.of_piece(pieces, index)))
            file.write(tokens.astype(dtype, copy=False).tobytes())
            offsets[index], lengths[index] = written, len(tokens)
            written += len(tokens)
            progress.update(int(pieces.stops[index] - pieces.starts[index]))
    nothing = np.empty(0, dtype)
    mapped = np.memmap(path, dtype, "r") if written else nothing
    return Encoded(tokens=mapped, extra=nothing, offsets=offsets, lengths=lengths)


def _with_row_tokens(
    pieces: Pieces,
    table: DocumentTable,
    text: TableText,
    encoder: Encoder,
    dtype: npt.DTypeLike,
    progress: Any,
) -> Encoded:
    """The tokens that the table has for whole rows, and those of pieces of rows, encoded here."""
    row_tokens, row_lengths = table.tokens(), table.lengths
    offsets = (np.cumsum(row_lengths) - row_lengths)[pieces.rows]
    lengths = row_lengths[pieces.rows]
    is_whole = (pieces.starts == 0) & (pieces.stops == table.text_bytes[pieces.rows])
    extra = [np.empty(0, dtype)]
    after = len(row_tokens)
    for index in np.flatnonzero(~is_whole).tolist():
        tokens = np.asarray(encoder.encode(text.of_piece(pieces, index))).astype(dtype)
        extra.append(tokens)
        offsets[index], lengths[index] = after, len(tokens)
        after += len(tokens)
    progress.update(pieces.bytes)
    return Encoded(tokens=row_tokens, extra=np.concatenate(extra), offsets=offsets, lengths=lengths)
