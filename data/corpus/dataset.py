"""Training examples out of segment files: windows of tokens, memory-mapped, shared, read-only.

A segment of N tokens holds floor((N - 1) / T) examples of T tokens, each with its target shifted by
one; no example reaches over the end of its segment. This is the arithmetic of the recipe.

Shapes: B examples, T tokens of one example (`seq_len`).
"""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from minigpt_search.data.common.errors import UserError

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32}
"""As which segments of each type are viewed: the unsigned ones have few operators."""
_NO_ROOM = "Cannot allocate memory"
"""A part of torch's message for a file that could not be mapped."""


class SegmentedTextDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows of `seq_len` tokens over segment files, as if they were one long list.

    The files are mapped, not read: all processes share one copy in the page cache, and a write to a
    tensor never reaches the file. Where the cache has no room for them all, pages are read again:
    a corpus may be larger than the memory. Pickling sends the paths, not the tokens.

    Args:
        files: `.pt` files, each with one 1-D tensor of token ids, all `torch.uint16` or all
            `torch.uint32`.
        seq_len: T, at least 1.

    Raises:
        UserError: a file that is missing, damaged or of another kind; `seq_len` below 1.
    """

    def __init__(self, files: Sequence[Path], seq_len: int) -> None:
        if seq_len < 1:
            raise UserError(f"seq_len: {seq_len} must be at least 1")
        self.files = [Path(file) for file in files]
        self.seq_len = seq_len
        self._segments = [open_segment(file) for file in self.files]
        for segment in self._segments:
            _expect_random_reads(segment)
        self.tokens = sum(len(segment) for segment in self._segments)
        counts = [max(len(segment) - 1, 0) // seq_len for segment in self._segments]
        # _ends[k]: number of examples in segments 0..k
        self._ends = list(accumulate(counts))
        self._starts = [end - count for end, count in zip(self._ends, counts, strict=True)]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Example `index` as (x, y), each (T,) int64, y one token ahead of x."""
        x, y = self.batch(torch.tensor([index]))
        return x[0], y[0]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The examples at `indices` (B,) as (x, y), each (B, T) int64: views of `windows`.

        Raises:
            IndexError: an index below -len or at or above len.
        """
        tokens = self.windows(indices)
        return tokens[:, :-1], tokens[:, 1:]

    def windows(self, indices: Tensor) -> Tensor:
        """The examples at `indices` (B,) with the token after each, (B, T + 1) int64 in one piece.

        Raises:
            IndexError: an index below -len or at or above len.
        """
        return _unsigned(torch.stack([self._window(index) for index in indices.tolist()]))

    def _window(self, index: int) -> Tensor:
        """The T + 1 tokens of one example, a view into the mapped segment, int16 or int32."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        index %= len(self)
        segment = bisect_right(self._ends, index)
        start = (index - self._starts[segment]) * self.seq_len
        return self._segments[segment][start : start + self.seq_len + 1]

    def __reduce__(self) -> tuple[type[SegmentedTextDataset], tuple[list[Path], int]]:
        return type(self), (self.files, self.seq_len)


def open_segment(file: Path) -> Tensor:
    """Map the tokens in `file` into memory: (N,) int16 with the bits of the uint16 in the file, or
    int32 with those of uint32.

    Raises:
        UserError: the file is missing, damaged, no segment, or larger than can be mapped.
    """
    if not file.is_file():
        raise UserError(f"{file}: segment file is missing: prepare the corpus again")
    try:
        tokens = torch.load(file, mmap=True, weights_only=True, map_location="cpu")
    except Exception as error:  # noqa: BLE001  torch raises many kinds for a damaged file
        if _NO_ROOM in str(error):  # Linux maps no file that is larger than memory and swap
            size = file.stat().st_size
            raise UserError(
                f"{file}: its {size:,} bytes are more than this machine can map at once: prepare "
                "the corpus again with more --segments"
            ) from None
        # Not torch's own words: for a file with code in it they advise to let it run.
        kind = type(error).__name__
        raise UserError(f"{file}: damaged segment ({kind}): prepare the corpus again") from None
    if not isinstance(tokens, Tensor) or tokens.dtype not in _SIGNED or tokens.dim() != 1:
        raise UserError(f"{file}: not a segment: expected one 1-D tensor of uint16 or uint32")
    return tokens.view(_SIGNED[tokens.dtype])


def _unsigned(tokens: Tensor) -> Tensor:
    """The ids, int64, of `open_segment`'s tokens: the mask undoes the sign of those in the upper
    half of their type, once there is room for them."""
    return tokens.to(torch.int64) & (2 ** (8 * tokens.itemsize) - 1)


def _expect_random_reads(segment: Tensor) -> None:
    """Have the kernel read only the pages that are asked for. Left to itself it reads megabytes
    around each, which is in vain where they must go again before they are used."""
    if not len(segment) or not hasattr(mmap, "MADV_RANDOM"):
        return
    start = segment.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    size = segment.data_ptr() + segment.nbytes - start
    # Only advice: no error of it matters.
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_RANDOM)


def largest_token(segment: Tensor) -> int:
    """The largest token id in a segment (N,) of `open_segment`; -1 if it is empty."""
    return max((int(_unsigned(part).max()) for part in segment.split(1 << 20)), default=-1)
