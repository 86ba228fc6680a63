"""Token ids to segment files: 1-D uint16 or uint32 tensors for `torch.load`, hashed, flushed to
disk.

They are written without torch, whose import takes 0.9 s. Its `torch.save` would write files that
hold the same (`tests/data/pipeline/test_segments.py`).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.corpus.manifest import SegmentFile, Split
from minigpt_search.data.pipeline.document_table import DocumentTable
from minigpt_search.data.pipeline.splits import Selection


class SegmentWriter:
    """Writes splits into `folder`, and hashes the tokens of all that it writes.

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
        self._hash = hashlib.sha256()

    @property
    def content_hash(self) -> str:
        """The SHA-256 (hexadecimal) over the splits written so far. It depends on their order, not
        on how they are divided into files."""
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
        """The tokens from `start` to `stop` of a split's documents laid end to end.

        Args:
            ends: where each document ends in that row of tokens.
        """
        tokens = np.empty(stop - start, np.uint16)
        filled = 0
        index = int(np.searchsorted(ends, start, side="right"))
        while filled < len(tokens):
            row, length = selection.documents[index], selection.lengths[index]
            skipped = max(0, start - (ends[index] - length))  # in the segment before this one
            piece = min(length - skipped, len(tokens) - filled)
            first = self._offsets[row] + skipped
            tokens[filled : filled + piece] = self._tokens[first : first + piece]
            filled += piece
            index += 1
        return tokens

    def _count_text(self, selection: Selection) -> int:
        """The UTF-8 bytes of a split's text. Of a document that was cut they are counted anew."""
        rows = selection.documents
        whole = selection.lengths == self._lengths[rows]
        count = int(self._text_bytes[rows[whole]].sum())
        for row, length in zip(rows[~whole], selection.lengths[~whole], strict=True):
            first = self._offsets[row]
            count += self._count_bytes(self._tokens[first : first + length].tolist())
        return count


def save_segment(path: Path, tokens: npt.NDArray[np.uint16 | np.uint32]) -> SegmentFile:
    """Save token ids as a 1-D tensor of their type, and see them on the disk before returning."""
    content = tensor_file(tokens)
    with atomic_file(path) as file:
        file.write(content)
    digest = hashlib.sha256(content).hexdigest()
    return SegmentFile(name=path.name, tokens=len(tokens), sha256=digest, size_bytes=len(content))


_ALIGNMENT = 64
"""Bytes. The tensor's data begin at a multiple of it, as in torch's own files, which are mapped."""
_HEADER_BYTES = 30
"""The fixed part of a member's header in a zip archive, before its name and its extra field."""


def tensor_file(tokens: npt.NDArray[np.uint16 | np.uint32]) -> memoryview:
    """Make the content of a file that `torch.load` reads as a 1-D tensor of the same type: a zip
    archive that holds the tensor's data, and a pickle that says what they are."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), _pickle(tokens))
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), sys.byteorder)
        data = zipfile.ZipInfo("archive/data/0")
        before = packed.tell() + _HEADER_BYTES + len(data.filename) + 4
        padding = -before % _ALIGNMENT  # goes into an extra field, under torch's own mark "FB"
        data.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        archive.writestr(data, tokens.data)
        archive.writestr(zipfile.ZipInfo("archive/version"), "3\n")
    return packed.getbuffer()


def _pickle(tokens: npt.NDArray[np.uint16 | np.uint32]) -> bytes:
    """Write a pickle of `_rebuild_tensor_v3(storage "0", offset 0, (length,), stride (1,), no
    gradient, no hooks, torch.uint16)`, opcode by opcode: `pickle` itself would import torch."""
    length = len(tokens)
    storage = b"".join(
        [
            pickle.MARK + _text("storage"),
            _global("torch.storage", "UntypedStorage"),
            _text("0"),
            _text("cpu"),
            _int(tokens.nbytes),
            pickle.TUPLE + pickle.BINPERSID,
        ]
    )
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    return b"".join(
        [
            pickle.PROTO + b"\x02",
            _global("torch._utils", "_rebuild_tensor_v3") + pickle.MARK,
            storage + _int(0),
            _int(length) + pickle.TUPLE1,
            _int(1) + pickle.TUPLE1,
            pickle.NEWFALSE + hooks + _global("torch", tokens.dtype.name),
            pickle.TUPLE + pickle.REDUCE + pickle.STOP,
        ]
    )


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


def _int(number: int) -> bytes:
    return pickle.dumps(number, protocol=2)[2:-1]  # without its beginning and its end


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()
