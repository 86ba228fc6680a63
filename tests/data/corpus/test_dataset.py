"""Examples out of segments, against slices made one by one."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.dataset import (
    SegmentedTextDataset,
    largest_token,
    open_segment,
)
from minigpt_search.data.splitting.segments import save_segment
from minigpt_search.data.tokenizers.base import token_dtype


def save(
    folder: Path, *segments: list[int], dtype: type[np.uint16 | np.uint32] = np.uint16
) -> list[Path]:
    paths = [folder / f"segment_{number:02d}.pt" for number in range(len(segments))]
    for path, tokens in zip(paths, segments, strict=True):
        save_segment(path, np.array(tokens, dtype))
    return paths


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 70), min_size=1, max_size=4),
    seq_len=st.integers(1, 20),
    seed=st.integers(0, 9),
    entries=st.sampled_from([257, 50_257, 65_536, 65_537, 131_072, 1_000_000]),
)
def test_examples_are_the_slices_of_the_recipe(
    sizes: list[int], seq_len: int, seed: int, entries: int
) -> None:
    """Whatever the width of the ids; the largest is always among them."""
    generator = np.random.default_rng(seed)
    segments = [[entries - 1, *generator.integers(0, entries, n - 1).tolist()] for n in sizes]
    expected = [
        (segment[k : k + seq_len], segment[k + 1 : k + 1 + seq_len])
        for segment in segments
        for k in range(0, (len(segment) - 1) // seq_len * seq_len, seq_len)
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = save(Path(folder), *segments, dtype=token_dtype(entries).type)
        assert {largest_token(open_segment(file)) for file in files} == {entries - 1}
        dataset = SegmentedTextDataset(files, seq_len)
        assert len(dataset) == sum((size - 1) // seq_len for size in sizes) == len(expected)
        assert dataset.tokens == sum(sizes)
        for index, (x, y) in enumerate(expected):
            assert dataset[index][0].tolist() == x
            assert dataset[index][1].tolist() == y


def test_batch_is_the_examples_stacked_as_int64(tmp_path: Path) -> None:
    files = save(tmp_path, list(range(50_000, 50_200)), list(range(100)))
    dataset = SegmentedTextDataset(files, seq_len=8)
    indices = torch.tensor([0, len(dataset) - 1, 25, 0])
    x, y = dataset.batch(indices)
    assert x.dtype == y.dtype == torch.int64
    assert x.shape == y.shape == (4, 8)
    for row, index in enumerate(indices.tolist()):
        assert torch.equal(x[row], dataset[index][0])
        assert torch.equal(y[row], dataset[index][1])


def test_the_recipe_s_counts(tmp_path: Path) -> None:
    sizes = [1_250_031] * 7 + [1_250_032]  # 10,000,249 tokens in 8 segments
    total = 0
    for number, size in enumerate(sizes):
        path = tmp_path / f"{number}.pt"
        save_segment(path, np.zeros(size, np.uint16))
        total += len(SegmentedTextDataset([path], 64))
    assert sum(sizes) == 10_000_249
    assert total == sum((size - 1) // 64 for size in sizes) == 156_248


def test_pickle_carries_paths_not_tokens(tmp_path: Path) -> None:
    dataset = SegmentedTextDataset(save(tmp_path, list(range(60_000))), seq_len=64)
    packed = pickle.dumps(dataset)
    assert len(packed) < 1_000
    assert torch.equal(pickle.loads(packed)[3][0], dataset[3][0])


def test_writing_to_an_example_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (path,) = save(tmp_path, list(range(100)))
    before = path.read_bytes()
    dataset = SegmentedTextDataset([path], seq_len=4)
    dataset._segments[0].fill_(7)
    assert path.read_bytes() == before


@pytest.mark.parametrize("index", [5, -6, 99])
def test_index_out_of_range(tmp_path: Path, index: int) -> None:
    dataset = SegmentedTextDataset(save(tmp_path, list(range(11))), seq_len=2)
    with pytest.raises(IndexError, match="of 5"):
        dataset[index]


def test_truncated_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    (path,) = save(tmp_path, list(range(5_000)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"segment_00.pt: damaged"):
        SegmentedTextDataset([path], 8)
    with pytest.raises(UserError, match=r"nowhere.pt: segment file is missing"):
        SegmentedTextDataset([tmp_path / "nowhere.pt"], 8)
    torch.save(torch.zeros(3), path)
    with pytest.raises(UserError, match=r"segment_00.pt: not a segment"):
        SegmentedTextDataset([path], 8)


def test_a_segment_that_cannot_be_mapped_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux maps no file that is larger than memory and swap together."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("unable to mmap 5 bytes from file <x>: Cannot allocate memory (12)")

    (path,) = save(tmp_path, list(range(100)))
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(UserError, match=r"segment_00.pt: its .* bytes are more .* --segments"):
        SegmentedTextDataset([path], 8)


def test_examples_of_a_large_corpus_take_no_memory_for_the_rest(
    huge_segments: list[Path], own_memory: Callable[[], int]
) -> None:
    before = own_memory()
    dataset = SegmentedTextDataset(huge_segments, seq_len=64)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        x, y = dataset.batch(torch.randint(len(dataset), (32,), generator=generator))
        assert x.shape == y.shape == (32, 64)
        assert not x.any()
    assert 2 * dataset.tokens > 1e9
    assert own_memory() - before < 20e6
