"""Segment files are what `torch.save` would have written, as far as `torch.load` can tell."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.pipeline.segments import save_segment, tensor_file


@pytest.mark.parametrize("length", [1, 31, 32, 255, 256, 65_536, 1_000_003])
@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_what_it_would_have_saved(tmp_path: Path, length: int, mmap: bool) -> None:
    tokens = np.random.RandomState(0).randint(0, 2**16, length).astype(np.uint16)
    saved = save_segment(tmp_path / "a.pt", tokens)
    torch.save(torch.from_numpy(tokens), tmp_path / "b.pt")
    ours, theirs = (
        torch.load(tmp_path / name, mmap=mmap, weights_only=True) for name in ("a.pt", "b.pt")
    )
    assert ours.dtype == theirs.dtype == torch.uint16
    assert torch.equal(ours.to(torch.int64), theirs.to(torch.int64))
    assert ours.data_ptr() % 2 == 0
    assert saved.size_bytes == (tmp_path / "a.pt").stat().st_size


def test_the_tensor_s_bytes_are_aligned_as_torch_aligns_them() -> None:
    for length in (1, 100, 70_000):
        tokens = np.arange(length).astype(np.uint16)
        content = bytes(tensor_file(tokens))
        assert content.index(tokens.tobytes()[:64]) % 64 == 0 or length == 1
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert archive.read("archive/data/0") == tokens.tobytes()
