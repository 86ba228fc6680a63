"""The corpus as the other rooms see it: what is wanted, made once, opened many times.

spec = CorpusSpec(name="builtin", sources=("builtin",))
corpus = open_corpus(prepare_corpus(spec, artifacts_root()))
train = corpus.dataset("train", seq_len=64)
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.manifest import MANIFEST_FILE, SPLITS, Manifest, read_manifest
from minigpt_search.data.corpus.split_documents import (
    FILE,
    SplitDocuments,
    read_split_documents,
)
from minigpt_search.data.tokenizers.record import GPT2, kept_files, read_kept, vocab_size_of

if TYPE_CHECKING:
    from minigpt_search.data.corpus.dataset import SegmentedTextDataset


class Corpus:
    """A finished corpus in a folder. It is made by `open_corpus`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over the token ids of all splits."""
        return self.manifest.content_hash

    @property
    def vocab_size(self) -> int:
        """The entries of its tokenizer, the separator included."""
        return vocab_size_of(self.manifest.tokenizer)

    @cached_property
    def kept_tokenizer(self) -> dict[str, Any] | None:
        """What restores its tokenizer without this folder: `record` and `files`, name to content
        (`data.tokenizers.choose.restore_tokenizer`). None for GPT-2's, which is not kept.

        Raises:
            UserError: a file of it is missing or damaged.
        """
        record = self.manifest.tokenizer
        if record.get("kind", GPT2) == GPT2:
            return None
        return {"record": record, "files": read_kept(record, self.folder)}

    def dataset(self, split: str, seq_len: int = 64) -> SegmentedTextDataset:
        """The windows of `seq_len` tokens of `split` ("train", "val" or "test")."""
        from minigpt_search.data.corpus.dataset import (
            SegmentedTextDataset,  # torch takes a second to import
        )

        files = [self.folder / file.name for file in self.manifest.splits[_known(split)].files]
        return SegmentedTextDataset(files, seq_len)

    def documents(self, split: str) -> SplitDocuments | None:
        """Which document each token of "val" or "test" is of; None in a corpus of before that was
        known. Raises `UserError` if the file is damaged."""
        known = self.manifest.documents_sha256
        return read_split_documents(self.folder, known)[_known(split)] if known else None

    def bytes_per_token(self, split: str) -> float:
        """The UTF-8 bytes of the split's text for each of its tokens. Nats a token divided by
        (this x ln 2) are bits a byte, which can be compared between tokenizers."""
        counts = self.manifest.splits[_known(split)]
        return counts.bytes / counts.tokens


def open_corpus(folder: Path) -> Corpus:
    """Open the finished corpus in `folder`, whose files must be there with their sizes.

    Raises:
        UserError: no (valid) manifest, or a file that is missing or of another size.
    """
    manifest = read_manifest(folder)
    for name in files_beside(manifest):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: this file of the corpus is missing: remove {folder} and prepare "
                "it again"
            )
    for file in manifest.files():
        path = folder / file.name
        if not path.is_file():
            raise UserError(
                f"{path}: segment file is missing: remove {folder} and prepare it again"
            )
        size = path.stat().st_size
        if size != file.size_bytes:
            raise UserError(
                f"{path}: damaged, {size:,} bytes where {MANIFEST_FILE} says "
                f"{file.size_bytes:,}: remove {folder} and prepare it again"
            )
    return Corpus(folder, manifest)


def files_beside(manifest: Manifest) -> list[str]:
    """The names of a corpus' files beside its manifest and its segments."""
    return [*kept_files(manifest.tokenizer), *([FILE] if manifest.documents_sha256 else [])]


def verify_corpus(folder: Path) -> Manifest:
    """Hash every file of a corpus again and compare, the tokenizer's too, and check every token.

    Raises:
        UserError: naming the first damaged file.
    """
    from minigpt_search.data.corpus.dataset import (  # torch takes a second to import
        largest_token,
        open_segment,
    )

    corpus = open_corpus(folder)
    read_kept(corpus.manifest.tokenizer, folder)
    corpus.documents("val")
    for file in corpus.manifest.files():
        with (folder / file.name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                raise UserError(
                    f"{folder / file.name}: damaged, its SHA-256 is not the one in "
                    f"{MANIFEST_FILE}: remove {folder} and prepare it again"
                )
        tokens = open_segment(folder / file.name)
        largest = largest_token(tokens)
        if len(tokens) != file.tokens or largest >= corpus.vocab_size:
            raise UserError(
                f"{folder / file.name}: {len(tokens):,} tokens up to {largest}, expected "
                f"{file.tokens:,} below {corpus.vocab_size}: remove {folder} and prepare it again"
            )
    return corpus.manifest


def _known(split: str) -> str:
    """Return `split`. Raises `UserError` if there is none of that name."""
    if split not in SPLITS:
        raise UserError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    return split
