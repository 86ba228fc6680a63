"""Checkpoints: written whole or not at all, read without executing anything from them.

Which files there are says `model/training/checkpoint_files.py`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.tokenizers.base import Tokenizer
from minigpt_search.data.tokenizers.choose import restore_tokenizer
from minigpt_search.data.tokenizers.gpt2 import GPT2Tokenizer
from minigpt_search.model.config import ModelConfig, RunConfig
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.checkpoint_files import STEP_CHECKPOINTS_KEPT, step_files

FORMAT = "minigpt-checkpoint-1"
"""Stands in every checkpoint, so that another program's file is refused by name."""


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path`: after a kill at any moment the file is whole or not there.

    Raises OSError if it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        try:
            torch.save({"format": FORMAT, **content}, file)
        except RuntimeError as error:  # torch's own, in place of what the file raised
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: Path) -> dict[str, Any]:
    """The content of the checkpoint at `path`, its tensors on the CPU. Raises `UserError` if there
    is none, or it is damaged or another program's."""
    if not path.is_file():
        gone = path.name == "final.pt" and (path.parent / "outcome.json").exists()
        why = " (--max-disk removes those of all trials but the best)" if gone else ""
        found = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {found}{why}; give a checkpoint (.pt)")
    try:
        content = torch.load(_verified(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception:  # noqa: BLE001 - torch raises many kinds for a damaged file
        # Not torch's own words: for a file with code in it they advise to let it run.
        raise UserError(f"{path}: damaged, or not a checkpoint of this program") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this program ({FORMAT})")
    return content


def _verified(path: Path) -> io.BytesIO:
    """The checkpoint's archive made anew in memory from its members, whose checksums `zipfile`
    compares as it reads. torch writes these sums but doesn't look at them, and a flipped bit in a
    member's size, which they don't cover, had it return memory that was never written."""
    clean = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(clean, "w") as made:
        for member in archive.infolist():
            made.writestr(member.filename, archive.read(member))
    clean.seek(0)
    return clean


def load_model(path: Path) -> tuple[GPT, RunConfig, dict[str, Any]]:
    """The checkpoint's model (on the CPU, not in training mode), its configuration, and the whole
    content. Raises `UserError` for a file that is no checkpoint, and for weights that are not
    finite or don't fit the configuration."""
    content = load(path)
    try:
        config = RunConfig.from_dict(content["config"])
        _check_weights(config.model, content["model"], path)
        model = GPT(config.model, config.width_ratio)
        model.load_state_dict(content["model"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, RuntimeError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: its weights don't fit its configuration: {reason}") from None
    return model.eval(), config, content


def tokenizer_of(content: dict[str, Any], path: Path, root: Path) -> Tokenizer:
    """The tokenizer of the model in the final weights at `path`, whose content this is: the one
    that is kept in it, else GPT-2's, whose files are below `root`.

    Raises:
        UserError: it is damaged, or the model is of another vocabulary.
    """
    kept, entries = content.get("tokenizer"), content["config"]["model"]["vocab_size"]
    try:
        made: Tokenizer = (
            GPT2Tokenizer(root)
            if kept is None
            else restore_tokenizer(kept["record"], kept["files"], root, str(path))
        )
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: the tokenizer in it is damaged") from None
    if made.vocab_size != entries:
        which = "the one in it" if kept else "it has none in it, and GPT-2's"
        raise UserError(
            f"{path}: a model of {entries:,} tokens without its tokenizer: {which} has "
            f"{made.vocab_size:,}"
        )
    return made


def _check_weights(config: ModelConfig, weights: Any, path: Path) -> None:
    """Check that the weights are as many as the configuration says and finite, before memory is
    taken for a model of that size. Raises TypeError for their number, `UserError` for values."""
    head = config.vocab_size * config.embed_dim if config.tie_head else 0  # is there twice
    count = sum(tensor.numel() for tensor in weights.values())
    if count != parameter_count(config) + head or count - head > path.stat().st_size:
        raise TypeError(f"{count:,} numbers where {parameter_count(config) + head:,} are due")
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise UserError("its weights are not all finite numbers")


def save_step(content: dict[str, Any], folder: Path, step: int) -> Path:
    """Write the checkpoint of `step` and delete all but the two newest up to it; returns its file.

    Checkpoints of later steps are damaged, or the run would have gone on from them: they go too.
    """
    path = folder / f"step_{step:09d}.pt"
    save_atomically(content, path)
    files = step_files(folder)
    kept = [file for file in files if file.name <= path.name][:STEP_CHECKPOINTS_KEPT]
    for file in files:
        if file not in kept:
            file.unlink(missing_ok=True)
    return path


def newest_step(folder: Path) -> dict[str, Any] | None:
    """The content of the newest step checkpoint that is whole; None if there is none."""
    for path in step_files(folder):
        try:
            return load(path)
        except UserError:
            continue  # damaged on disk: the one before it is still good
    return None


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
