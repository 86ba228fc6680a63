"""Clean documents annotated in a worker process: each one's verdict, signature and tokens."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Document
from minigpt_search.data.filtering.near_duplicates import signatures
from minigpt_search.data.filtering.quality import failed_rules
from minigpt_search.data.filtering.word_table import WordTable
from minigpt_search.data.tokenizers.gpt2 import SEPARATOR_TOKEN, get_encoding

_NO_TOKENS = np.empty(0, np.uint16)
_SEPARATOR = np.array([SEPARATOR_TOKEN], np.uint16)


@dataclass(frozen=True, kw_only=True)
class AnnotatedBatch:
    """What was found out about N documents: arrays, which are small to send between processes."""

    sources: list[int]
    failed: list[str]
    """The first quality rule that each document does not meet, or ""."""
    order_keys: npt.NDArray[np.uint64]
    """(N,) A hash of seed and text, which sorts documents as a shuffle that depends on nothing
    else."""
    text_bytes: npt.NDArray[np.int64]
    """(N,) The size of each text in UTF-8."""
    signatures: npt.NDArray[np.uint32]
    """(N, P) The MinHash signatures."""
    lengths: npt.NDArray[np.int64]
    """(N,) The tokens of each document, its separator included; 0 where a rule failed."""
    tokens: npt.NDArray[np.uint16]
    """The tokens of all documents in a row."""
    cpu_seconds: dict[str, float]
    """Processor seconds by kind of work."""


def annotate(
    batch: Sequence[Document], *, root: Path, seed: int, use_rules: bool
) -> AnnotatedBatch:
    """Judge, sign and encode each document.

    Args:
        root: folder below which the tokenizer's files are.
        seed: decides the order keys.
        use_rules: whether documents that fail a quality rule are left without tokens.
    """
    texts = [document.text for document in batch]
    table = _word_table(root)
    clock = [time.process_time()]
    utf_8 = [text.encode() for text in texts]
    words = table.look_up(utf_8)
    clock.append(time.process_time())
    rows = signatures(words.shingles)
    clock.append(time.process_time())
    failed = failed_rules(texts, words) if use_rules else [""] * len(texts)
    clock.append(time.process_time())
    kept = [index for index, rule in enumerate(failed) if not rule]
    encoded = table.encode(
        [texts[index] for index in kept], [words.pieces[index] for index in kept]
    )
    lengths = np.zeros(len(batch), np.int64)
    lengths[kept] = [len(tokens) + 1 for tokens in encoded]
    clock.append(time.process_time())
    stages = ("words", "minhash", "quality", "encode")
    return AnnotatedBatch(
        sources=[document.source for document in batch],
        failed=failed,
        order_keys=np.array([_order_key(text, seed) for text in utf_8], np.uint64),
        text_bytes=np.array(list(map(len, utf_8)), np.int64),
        signatures=rows,
        lengths=lengths,
        tokens=np.concatenate([_NO_TOKENS, *chain(*((own, _SEPARATOR) for own in encoded))]),
        cpu_seconds={name: clock[k + 1] - clock[k] for k, name in enumerate(stages)},
    )


def preload(root: Path) -> None:
    """Load in this process what `annotate` needs, which takes half a second."""
    _word_table(root)


@lru_cache(maxsize=1)
def _word_table(root: Path) -> WordTable:
    return WordTable(get_encoding(root))


def _order_key(text: bytes, seed: int) -> int:
    digest = hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little")
