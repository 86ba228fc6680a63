"""Segment files are what `torch.save` would have written, as far as `torch.load` can tell."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.splitting.segments import save_segment, tensor_file


@pytest.mark.parametrize("length", [1, 31, 32, 255, 256, 65_536, 1_000_003])
@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_torch_reads_what_it_would_have_saved(
    tmp_path: Path, length: int, mmap: bool, dtype: type[np.uint16 | np.uint32]
) -> None:
    most = np.iinfo(dtype).max
    tokens = np.random.default_rng(0).integers(0, most, length, dtype, endpoint=True)
    saved = save_segment(tmp_path / "a.pt", tokens)
    torch.save(torch.from_numpy(tokens), tmp_path / "b.pt")
    ours, theirs = (
        torch.load(tmp_path / name, mmap=mmap, weights_only=True) for name in ("a.pt", "b.pt")
    )
    assert ours.dtype == theirs.dtype == getattr(torch, dtype.__name__)
    assert torch.equal(ours.to(torch.int64), theirs.to(torch.int64))
    assert ours.data_ptr() % ours.itemsize == 0
    assert saved.size_bytes == (tmp_path / "a.pt").stat().st_size


def test_the_tensor_s_bytes_are_aligned_as_torch_aligns_them() -> None:
    for length in (1, 100, 70_000):
        tokens = np.arange(length).astype(np.uint16)
        content = bytes(tensor_file(tokens))
        assert content.index(tokens.tobytes()[:64]) % 64 == 0 or length == 1
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert archive.read("archive/data/0") == tokens.tobytes()
