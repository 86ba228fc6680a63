"""Token ids to segment files: 1-D uint16 or uint32 tensors for `torch.load`, hashed, flushed to
disk.

They are written without torch, whose import takes 0.9 s. Its `torch.save` would write files that
hold the same (`tests/data/splitting/test_segments.py`).
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
from minigpt_search.data.splitting.encode import Encoded
from minigpt_search.data.splitting.splits import Pieces


class SegmentWriter:
    """Writes splits into `folder`, and hashes the tokens of all that it writes.

    Memory: one segment at a time.
    """

    def __init__(
        self, folder: Path, separator: int, count_bytes: Callable[[list[int]], int]
    ) -> None:
        """`separator` is the token after each document; `count_bytes` gives the UTF-8 bytes of the
        text that some token ids stand for."""
        self._folder = folder
        self._separator = separator
        self._count_bytes = count_bytes
        self._hash = hashlib.sha256()

    @property
    def content_hash(self) -> str:
        """The SHA-256 (hexadecimal) over the splits written so far. It depends on their order, not
        on how they are divided into files."""
        return self._hash.hexdigest()

    def write(
        self,
        split: str,
        pieces: Pieces,
        encoded: Encoded,
        taken: npt.NDArray[np.int64],
        segments: int,
        text_sha256: str,
        progress: Any,
    ) -> Split:
        """Write one split as `segments` files of equal length (but for one token).

        Files are `segment_00.pt` ... for train, `val.pt` and `test.pt` else.

        Args:
            pieces: the text of the split, M pieces.
            encoded: their tokens.
            taken: (M,) how many tokens of each are taken, its separator among them.
            text_sha256: for the manifest.

        Raises:
            UserError: fewer than two tokens a file, so that it could hold no example.
        """
        total = int(taken.sum())
        if total < 2 * segments:
            raise UserError(
                f"--segments {segments}: {split} has only {total} tokens, "
                f"too few for {segments} files: give more text or fewer segments"
            )
        self._hash.update(f"{split} {total}\n".encode())
        bounds = np.linspace(0, total, segments + 1).astype(np.int64)
        ends = np.cumsum(taken)
        files = []
        for number in range(segments):
            tokens = self._gather(encoded, taken, ends, bounds[number], bounds[number + 1])
            self._hash.update(tokens.tobytes())
            name = f"segment_{number:02d}.pt" if split == "train" else f"{split}.pt"
            files.append(save_segment(self._folder / name, tokens))
            progress.update(len(tokens))
        _, document = np.unique(pieces.numbers, return_inverse=True)
        return Split(
            documents=pieces.documents,
            tokens=total,
            bytes=self._count_text(pieces, encoded, taken),
            files=tuple(files),
            text_sha256=text_sha256,
            largest_document=int(np.bincount(document, weights=taken).max()),
        )

    def _gather(
        self,
        encoded: Encoded,
        taken: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        start: int,
        stop: int,
    ) -> npt.NDArray[Any]:
        """The tokens from `start` to `stop` of a split's pieces laid end to end.

        Args:
            ends: where each piece ends in that row of tokens.
        """
        tokens = np.full(stop - start, self._separator, encoded.tokens.dtype)
        filled = 0
        index = int(np.searchsorted(ends, start, side="right"))
        while filled < len(tokens):
            skipped = max(0, start - (ends[index] - taken[index]))  # in the segment before this
            count = min(taken[index] - skipped, len(tokens) - filled)
            own = max(0, min(count, encoded.lengths[index] - skipped))  # the rest is the separator
            first = encoded.offsets[index] + skipped
            tokens[filled : filled + own] = encoded.part(first, own)
            filled += count
            index += 1
        return tokens

    def _count_text(self, pieces: Pieces, encoded: Encoded, taken: npt.NDArray[np.int64]) -> int:
        """The UTF-8 bytes of a split's text. Of a piece that was cut they are counted anew."""
        whole = taken >= encoded.lengths
        count = int((pieces.stops - pieces.starts)[whole].sum())
        for index in np.flatnonzero(~whole):
            first = encoded.offsets[index]
            count += self._count_bytes(encoded.part(first, taken[index]).tolist())
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
