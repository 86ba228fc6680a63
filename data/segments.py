"""Token ids to segment files: 1-D uint16 tensors for `torch.load`, hashed, flushed to disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.errors import UserError
from data.manifest import SegmentFile, Split
from data.splits import Selection
from data.table import DocumentTable
from data.tensor_file import tensor_file

if TYPE_CHECKING:
    from hashlib import _Hash


class SegmentWriter:
    """Writes splits into `folder`; `content_hash` covers the tokens of all that were written.

    Memory: one segment at a time.
    """

    def __init__(
        self, folder: Path, table: DocumentTable, count_bytes: Callable[[list[int]], int]
    ) -> None:
        """`count_bytes` gives the UTF-8 bytes of the text that some token ids stand for."""
        self._folder = folder
        self._tokens = table.tokens()
        self._lengths = table.lengths
        self._offsets = np.cumsum(table.lengths) - table.lengths
        self._text_bytes = table.text_bytes
        self._count_bytes = count_bytes
        self._hash: _Hash = hashlib.sha256()

    @property
    def content_hash(self) -> str:
        return self._hash.hexdigest()

    def write(self, split: str, selection: Selection, segments: int, progress: Any) -> Split:
        """Write one split as `segments` files of equal length (but for one token).

        Files are `segment_00.pt` ... for train, `val.pt` and `test.pt` else.

        Raises:
            UserError: fewer than two tokens a file, so that it could hold no example.
        """
        if selection.tokens < 2 * segments:
            raise UserError(
                f"--segments {segments}: {split} has only {selection.tokens} tokens, "
                f"too few for {segments} files: give more text or fewer segments"
            )
        self._hash.update(f"{split} {selection.tokens}\n".encode())
        bounds = np.linspace(0, selection.tokens, segments + 1).astype(np.int64)
        ends = np.cumsum(selection.lengths)
        files = []
        for number in range(segments):
            tokens = self._gather(selection, ends, bounds[number], bounds[number + 1])
            self._hash.update(tokens.tobytes())
            name = f"segment_{number:02d}.pt" if split == "train" else f"{split}.pt"
            files.append(save_segment(self._folder / name, tokens))
            progress.update(len(tokens))
        return Split(
            documents=len(selection.documents),
            tokens=selection.tokens,
            bytes=self._count_text(selection),
            files=tuple(files),
        )

    def _gather(
        self, selection: Selection, ends: npt.NDArray[np.int64], start: int, stop: int
    ) -> npt.NDArray[np.uint16]:
        """Tokens [start, stop) of the split's documents laid end to end."""
        tokens = np.empty(stop - start, np.uint16)
        filled = 0
        place = int(np.searchsorted(ends, start, side="right"))
        while filled < len(tokens):
            row, length = selection.documents[place], selection.lengths[place]
            skipped = max(0, start - (ends[place] - length))
            piece = min(length - skipped, len(tokens) - filled)
            first = self._offsets[row] + skipped
            tokens[filled : filled + piece] = self._tokens[first : first + piece]
            filled += piece
            place += 1
        return tokens

    def _count_text(self, selection: Selection) -> int:
        rows = selection.documents
        whole = selection.lengths == self._lengths[rows]
        count = int(self._text_bytes[rows[whole]].sum())
        for row, length in zip(rows[~whole], selection.lengths[~whole], strict=True):
            first = self._offsets[row]
            count += self._count_bytes(self._tokens[first : first + length].tolist())
        return count


def save_segment(path: Path, tokens: npt.NDArray[np.uint16]) -> SegmentFile:
    """Save token ids as a 1-D uint16 tensor, and see them on the disk before returning."""
    content = tensor_file(tokens)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(content).hexdigest()
    return SegmentFile(name=path.name, tokens=len(tokens), sha256=digest, size_bytes=len(content))
