"""Checkpoint files: written whole, checked when read, never executed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.training.checkpoint import (
    FORMAT,
    load,
    load_model,
    newest_step,
    save_atomically,
    save_step,
)
from minigpt_search.model.training.checkpoint_files import step_files

MakeCheckpoint = Callable[..., Path]


class Trap:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def assert_refused(path: Path, match: str = "damaged, or not a checkpoint") -> None:
    with pytest.raises(UserError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_content_comes_back(tmp_path: Path) -> None:
    tensor, other = torch.arange(5.0), {"c": [1, None, "x"]}
    save_atomically({"a": tensor, "b": other}, tmp_path / "new" / "a.pt")
    back = load(tmp_path / "new" / "a.pt")
    assert torch.equal(back["a"], tensor)
    assert (back["b"], back["format"]) == (other, FORMAT)


@pytest.mark.parametrize("broken", ["torch.save", "os.fsync", "os.replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "a.pt"
    save_atomically({"version": 1}, path)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(OSError, match="no space"):
            save_atomically({"version": 2}, path)
    assert load(path)["version"] == 1
    save_atomically({"version": 3}, path)
    assert load(path)["version"] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_code_in_a_file_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, trap = tmp_path / "a.pt", tmp_path / "executed"
    torch.save({"format": FORMAT, "model": Trap(trap)}, path)
    assert_refused(path)
    path.write_bytes(pickle.dumps(Trap(trap)))
    assert_refused(path)
    assert not trap.exists()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_atomically({"weights": torch.randn(100)}, path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert_refused(path)


def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    weights = torch.randn(500)
    save_atomically({"weights": weights}, path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            assert torch.equal(load(path)["weights"], weights)  # it was in a padding or a date
        except UserError:
            refused += 1
    assert refused > 2000 / 7  # at least every one in the weights


@pytest.mark.parametrize("content", [{"format": "another-1"}, {"model": {}}, [1, 2], 5])
def test_another_program_s_file_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", "not a checkpoint of this program")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere.pt", "no such file")
    assert_refused(tmp_path, "a folder; give a checkpoint")


def test_two_newest_steps_are_kept(tmp_path: Path) -> None:
    for step in (1, 5, 90, 1_000_000):
        save_step({"step": step}, tmp_path, step)
    save_atomically({}, tmp_path / "final.pt")
    assert [load(path)["step"] for path in step_files(tmp_path)] == [1_000_000, 90]
    newest = newest_step(tmp_path)
    assert newest is not None
    assert newest["step"] == 1_000_000


def test_a_step_just_saved_is_kept_beside_damaged_later_ones(tmp_path: Path) -> None:
    for step in (30, 40):
        (tmp_path / f"step_{step:09d}.pt").write_bytes(b"damaged")
    save_step({"step": 7}, tmp_path, 7)
    newest = newest_step(tmp_path)
    assert newest is not None
    assert newest["step"] == 7


def test_an_empty_folder_has_no_step(tmp_path: Path) -> None:
    assert newest_step(tmp_path) is None
    assert newest_step(tmp_path / "nowhere") is None


def test_a_loaded_model_is_ready_to_use(make_checkpoint: MakeCheckpoint) -> None:
    model, config, content = load_model(make_checkpoint(vocab_size=40, embed_dim=8))
    assert not model.training
    assert config.model == model.config
    assert model.head.weight is model.token_embedding.weight
    assert torch.equal(model.norm.weight, content["model"]["norm.weight"])


@pytest.mark.parametrize("weights", [None, {}, 3, {"norm.weight": torch.zeros(1)}])
def test_weights_that_don_t_fit_are_one_line(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, weights: object
) -> None:
    content = load(make_checkpoint(vocab_size=40, embed_dim=8))
    if weights is None:
        del content["model"]
    else:
        content["model"] = weights
    save_atomically(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match="don't fit its configuration") as caught:
        load_model(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
