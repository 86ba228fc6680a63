"""What is found out about each clean document in a worker process: verdict, signature, tokens."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.documents import Document
from data.near_duplicates import signatures
from data.quality import failed_rule
from data.shingles import shingles
from data.tokenizer import SEPARATOR_TOKEN, get_encoding

if TYPE_CHECKING:
    import tiktoken


_NO_TOKENS = np.empty(0, np.uint16)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A batch of N documents, as arrays: small to send between processes."""

    sources: list[int]
    failed: list[str]
    """The first quality rule that the document does not meet, or ""."""
    order_keys: npt.NDArray[np.uint64]
    """(N,) Hash of seed and text: sorts documents as a shuffle that depends on nothing else."""
    text_bytes: npt.NDArray[np.int64]
    """(N,) UTF-8."""
    signatures: npt.NDArray[np.uint32]
    """(N, P)"""
    lengths: npt.NDArray[np.int64]
    """(N,) Tokens with the separator; 0 where a rule failed."""
    tokens: npt.NDArray[np.uint16]
    """All documents' tokens in a row."""
    cpu_seconds: dict[str, float]


def measure(batch: Sequence[Document], *, root: Path, seed: int, use_rules: bool) -> Measured:
    """Judge, sign and encode each document. `root` is where the tokenizer's files are."""
    clock = [time.process_time()]
    runs = [shingles(document.text) for document in batch]
    rows = signatures(runs)
    clock.append(time.process_time())
    failed = [
        failed_rule(document.text, own) if use_rules else ""
        for document, own in zip(batch, runs, strict=True)
    ]
    clock.append(time.process_time())
    encoding = _encoding(root)
    encoded = [
        _NO_TOKENS if rule else _tokens(encoding, document.text)
        for document, rule in zip(batch, failed, strict=True)
    ]
    clock.append(time.process_time())
    stages = ("minhash", "quality", "encode")
    return Measured(
        sources=[document.source for document in batch],
        failed=failed,
        order_keys=np.array([_order_key(document.text, seed) for document in batch], np.uint64),
        text_bytes=np.array([len(document.text.encode()) for document in batch], np.int64),
        signatures=rows,
        lengths=np.array([len(tokens) for tokens in encoded], np.int64),
        tokens=np.concatenate(encoded),
        cpu_seconds={name: clock[k + 1] - clock[k] for k, name in enumerate(stages)},
    )


def _tokens(encoding: tiktoken.Encoding, text: str) -> npt.NDArray[np.uint16]:
    tokens = encoding.encode_ordinary(text)
    tokens.append(SEPARATOR_TOKEN)
    return np.fromiter(tokens, np.uint16, len(tokens))


@lru_cache(maxsize=1)
def _encoding(root: Path) -> tiktoken.Encoding:
    return get_encoding(root)


def _order_key(text: str, seed: int) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little")
