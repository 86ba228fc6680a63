"""Clean documents annotated in a worker process: each one's verdict, signature and tokens."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Document
from minigpt_search.data.filtering.near_duplicates import PERMUTATIONS, signatures
from minigpt_search.data.filtering.quality import failed_rules
from minigpt_search.data.filtering.treatment import Treatment
from minigpt_search.data.filtering.word_table import Words, WordTable
from minigpt_search.data.tokenizers.gpt2 import get_encoding

Tokens = npt.NDArray[np.uint16]

SAMPLE_CHARACTERS = 1_000
"""What is kept of the text of one dropped document a batch and source, to see its language."""


@dataclass(frozen=True, kw_only=True)
class AnnotatedBatch:
    """What was found out about N documents: arrays, which are small to send between processes."""

    sources: list[int]
    numbers: list[int]
    """The number of each document, as `RawDocument` has it."""
    failed: list[str]
    """The first quality rule that each document does not meet, or ""."""
    order_keys: npt.NDArray[np.uint64]
    """(N,) A hash of seed and text, which sorts documents as a shuffle that depends on nothing
    else."""
    text_bytes: npt.NDArray[np.int64]
    """(N,) The size of each text in UTF-8."""
    characters: npt.NDArray[np.int64]
    """(N,) The characters of each text."""
    signatures: npt.NDArray[np.uint32]
    """(N, P) The MinHash signatures; zeros where near duplicates are not looked for."""
    lengths: npt.NDArray[np.int64]
    """(N,) The tokens of each document; 0 where a rule failed."""
    tokens: Tokens
    """The tokens of all documents in a row: GPT-2's, or the bytes of the text."""
    samples: list[tuple[int, str]]
    """The beginnings of some dropped documents, with their sources."""
    cpu_seconds: dict[str, float]
    """Processor seconds by kind of work."""


def annotate(
    batch: Sequence[Document], *, root: Path, seed: int, treatment: Treatment
) -> AnnotatedBatch:
    """Judge, sign and encode each document.

    Args:
        root: folder below which the tokenizer's files are.
        seed: decides the order keys.
        treatment: which documents are judged and signed, and in what they are encoded.
    """
    texts = [document.text for document in batch]
    clock = [time.process_time()]
    utf_8 = [text.encode() for text in texts]
    looked_up = [k for k, each in enumerate(batch) if treatment.needs_words(each.source)]
    words = _word_table(root).look_up([utf_8[k] for k in looked_up]) if looked_up else None
    clock.append(time.process_time())
    rows = np.zeros((len(batch), PERMUTATIONS), np.uint32)
    if words is not None:
        rows[looked_up] = signatures(words.shingles)
    clock.append(time.process_time())
    failed = [""] * len(batch)
    if words is not None:
        rules = failed_rules([texts[k] for k in looked_up], words)
        for k, rule in zip(looked_up, rules, strict=True):
            failed[k] = rule if batch[k].source in treatment.web else ""
    clock.append(time.process_time())
    encoded = _encode(texts, utf_8, failed, root, treatment, words, looked_up)
    clock.append(time.process_time())
    stages = ("words", "minhash", "quality", "encode")
    dropped = {each.source: each.text for each, rule in zip(batch, failed, strict=True) if rule}
    return AnnotatedBatch(
        sources=[document.source for document in batch],
        numbers=[document.number for document in batch],
        failed=failed,
        order_keys=np.array([_order_key(text, seed) for text in utf_8], np.uint64),
        text_bytes=np.array(list(map(len, utf_8)), np.int64),
        characters=np.array(list(map(len, texts)), np.int64),
        signatures=rows,
        lengths=np.array(list(map(len, encoded)), np.int64),
        tokens=np.concatenate([np.empty(0, np.uint16), *encoded]),
        samples=[(source, text[:SAMPLE_CHARACTERS]) for source, text in dropped.items()],
        cpu_seconds={name: clock[k + 1] - clock[k] for k, name in enumerate(stages)},
    )


def _encode(
    texts: Sequence[str],
    utf_8: Sequence[bytes],
    failed: Sequence[str],
    root: Path,
    treatment: Treatment,
    words: Words | None,
    looked_up: Sequence[int],
) -> list[Tokens]:
    """The tokens of each text, none where a rule failed: GPT-2's, else its bytes, of which another
    tokenizer makes its own when it is known what is for training."""
    encoded: list[Tokens] = [np.empty(0, np.uint16)] * len(texts)
    if not treatment.encodes_gpt2:
        for k, text in enumerate(utf_8):
            if not failed[k]:
                encoded[k] = np.frombuffer(text, np.uint8).astype(np.uint16)
        return encoded
    if words is not None:
        kept = [(k, own) for k, own in zip(looked_up, words.pieces, strict=True) if not failed[k]]
        found = _word_table(root).encode([texts[k] for k, _ in kept], [own for _, own in kept])
        for (k, _), tokens in zip(kept, found, strict=True):
            encoded[k] = tokens
    encoding = get_encoding(root)
    for k in set(range(len(texts))).difference(looked_up):
        encoded[k] = np.array(encoding.encode_ordinary(texts[k]), np.uint16)
    return encoded


def preload(root: Path) -> None:
    """Load in this process what `annotate` needs, which takes half a second."""
    _word_table(root)


@lru_cache(maxsize=1)
def _word_table(root: Path) -> WordTable:
    return WordTable(get_encoding(root))


def _order_key(text: bytes, seed: int) -> int:
    digest = hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "little")
