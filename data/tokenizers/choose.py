"""From `--tokenizer` to a tokenizer, and from a corpus' manifest to the one that it was made with.

tokenizer = make_tokenizer("bpe:4096", root, texts, folder)
tokenizer = load_tokenizer(manifest.tokenizer, folder, root)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.tokenizers import gpt2
from minigpt_search.data.tokenizers.base import MOST_ENTRIES, Tokenizer
from minigpt_search.data.tokenizers.gpt2 import GPT2Tokenizer
from minigpt_search.data.tokenizers.hugging_face import (
    FileTokenizer,
    learn_bpe,
    library_errors,
    read_file,
)
from minigpt_search.data.tokenizers.lossless import check_lossless
from minigpt_search.data.tokenizers.record import (
    BPE,
    BYTE,
    CHAR,
    FILE,
    GPT2,
    TOKENIZER_FILE,
    read_kept,
)
from minigpt_search.data.tokenizers.simple import BYTES, ByteTokenizer, CharTokenizer


def kind_of(choice: str) -> str:
    """The kind that a value of `--tokenizer` asks for."""
    if choice in (GPT2, BYTE, CHAR):
        return choice
    return BPE if choice == BPE or choice.startswith(f"{BPE}:") else FILE


def check_tokenizer(choice: str) -> None:
    """Raise `UserError` for a value of `--tokenizer` that can't be: an unknown name, a size out of
    range, a file that is missing, no tokenizer, or one that changes text."""
    kind = kind_of(choice)
    if kind == BPE:
        _bpe_size(choice)
    elif kind == FILE:
        _checked_file(choice)


def make_tokenizer(
    choice: str,
    root: Path,
    texts: Callable[[], Iterable[str]],
    folder: Path,
    progress: Progress | None = None,
) -> Tokenizer:
    """The tokenizer that `choice`, a value of `--tokenizer`, asks for. What a corpus must keep of
    it is written into `folder`.

    Args:
        root: the artifacts' folder, whose downloads/ has GPT-2's files or gets them.
        texts: yields the training split's texts, of which `char` and `bpe:SIZE` are learnt; no
            other kind calls it.

    Raises:
        UserError: as `check_tokenizer`, or the download failed.
    """
    kind = kind_of(choice)
    if kind == GPT2:
        gpt2.bpe_files(root, progress)
        return GPT2Tokenizer(root)
    if kind == BYTE:
        return ByteTokenizer()
    made: CharTokenizer | FileTokenizer
    if kind == CHAR:
        made = CharTokenizer.learn(texts())
    elif kind == BPE:
        made = learn_bpe(_bpe_size(choice), texts())
    else:
        made = _checked_file(choice)
    with atomic_file(folder / TOKENIZER_FILE) as file:
        file.write(made.transformers_files()[TOKENIZER_FILE])
    return made


def load_tokenizer(record: Mapping[str, Any], folder: Path, root: Path) -> Tokenizer:
    """The tokenizer of the finished corpus in `folder`, by the `tokenizer` of its manifest.

    Raises:
        UserError: its file is missing or damaged, or GPT-2's can't be had.
    """
    return restore_tokenizer(record, read_kept(record, folder), root, str(folder))


def restore_tokenizer(
    record: Mapping[str, Any], files: Mapping[str, str], root: Path, where: str
) -> Tokenizer:
    """The tokenizer with this record and these contents of its files, by name. `where` they are
    from stands in errors.

    Raises:
        UserError: a kind that this program doesn't know, or another tokenizer than on record.
    """
    kind = record.get("kind", GPT2)
    if kind == GPT2:
        return GPT2Tokenizer(root)
    made: Tokenizer
    try:
        if kind == BYTE:
            made = ByteTokenizer()
        elif kind == CHAR:
            made = CharTokenizer.from_json(files[TOKENIZER_FILE])
        elif kind in (BPE, FILE):
            made = FileTokenizer(
                files[TOKENIZER_FILE],
                name=str(record["name"]),
                kind=kind,
                separator=int(record["separator_token"]),
                source_sha256=str(record.get("source_sha256", "")),
            )
        else:
            raise UserError(f"{where}: its tokenizer is of the kind {kind!r}: update the program")
        known = made.separator_token, made.vocab_size
        if known != (record["separator_token"], record["vocab_size"]):
            raise ValueError("another number of entries than on record")
    except UserError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: its tokenizer is damaged: {error}") from None
    return made


def _bpe_size(choice: str) -> int:
    """The SIZE of `bpe:SIZE`. Raises `UserError`."""
    text = choice.removeprefix(BPE).removeprefix(":")
    size = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
    if not BYTES + 1 <= size <= MOST_ENTRIES:
        raise UserError(
            f"--tokenizer {choice}: give bpe:SIZE with a SIZE from {BYTES + 1} (all bytes and the "
            f"separator) to {MOST_ENTRIES:,}"
        )
    return size


def _checked_file(choice: str) -> FileTokenizer:
    made = read_file(Path(choice))
    try:
        with library_errors():
            check_lossless(made, choice)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"--tokenizer {choice}: no tokenizer.json of use here: {error}") from None
    return made
