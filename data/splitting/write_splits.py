"""From the table of documents to the segment files: splits, tokenizer, tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.corpus.manifest import SPLITS, Split
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.corpus.split_documents import SplitDocuments, write_split_documents
from minigpt_search.data.sources.resolve import source_weights
from minigpt_search.data.splitting.document_table import DocumentTable
from minigpt_search.data.splitting.encode import TableText, encode_pieces
from minigpt_search.data.splitting.holdout import Documents
from minigpt_search.data.splitting.overlap import WORTH_SAYING, overlap
from minigpt_search.data.splitting.segments import SegmentWriter
from minigpt_search.data.splitting.splits import Pieces, choose_held_out
from minigpt_search.data.splitting.train import choose_train
from minigpt_search.data.tokenizers.base import token_dtype
from minigpt_search.data.tokenizers.choose import make_tokenizer
from minigpt_search.data.tokenizers.gpt2 import get_encoding

Ints = npt.NDArray[np.int64]

LEAST_TOKENS = {"train": 4 * 64 + 1, "val": 64 + 1, "test": 64 + 1}
"""The fewest tokens of each split that a search with the `quick` preset takes: a batch of four
examples, and an example; each has its last target after it."""
SEGMENT_TOKENS = 1_000
"""Each segment of a small corpus has at least so many tokens, in fewer segments than asked for."""


@dataclass(frozen=True, kw_only=True)
class WrittenCorpus:
    """What was written, for the manifest."""

    splits: dict[str, Split]
    content_hash: str
    documents_sha256: str
    """Of the file that says which document each token of validation and test is of."""
    tokenizer: Any
    source_tokens: Ints
    """The tokens of each source in all splits."""
    notes: list[str]


def write_splits(
    spec: CorpusSpec,
    root: Path,
    work: Path,
    table: DocumentTable,
    kept: Ints,
    sources: Sequence[Source],
    progress: Progress,
) -> WrittenCorpus:
    """Choose the splits among the rows `kept` of the table, and write their segment files.

    Raises:
        UserError: there is too little text.
    """
    has_gpt2 = spec.tokenizer == "gpt2"
    text = TableText(table, get_encoding(root).decode_bytes if has_gpt2 else None)
    group_of = np.array([source.group for source in sources])
    is_validation = np.array([source.is_validation for source in sources])
    weights = source_weights(spec)
    held = choose_held_out(
        spec,
        _documents(table, kept),
        is_validation[table.sources[kept]],
        group_of[table.sources[kept]],
        weights,
        text.of_row,
    )
    pieces = {"train": held.train, **held.splits}

    def train_texts() -> Iterator[str]:
        return (text.of_piece(held.train, index) for index in range(len(held.train)))

    notes_on_overlap = []
    if spec.validation is not None:
        val = held.splits["val"]
        share = overlap((text.of_piece(val, k) for k in range(len(val))), train_texts())
        if share > WORTH_SAYING:
            notes_on_overlap.append(
                f"caution: {share:.0%} of the text of --validation {spec.validation} is in the "
                "training text too: its loss says little about other text"
            )
    with progress.stage("tokenizer"):
        tokenizer = make_tokenizer(spec.tokenizer, root, train_texts, work)
    dtype = token_dtype(tokenizer.vocab_size)
    with (
        progress.stage("encode"),
        progress.bar("encode", total=_bytes(pieces.values()), unit="B", unit_scale=True) as bar,
    ):
        encoded = {
            name: encode_pieces(
                own,
                table,
                text,
                tokenizer,
                work / "spool" / f"{name}.spool",
                dtype,
                table_has_tokens=has_gpt2,
                progress=bar,
            )
            for name, own in pieces.items()
        }
    lengths = {name: encoded[name].lengths + pieces[name].closes for name in SPLITS}
    chosen, taken, notes = choose_train(
        spec, lengths["train"], group_of[table.sources[held.train.rows]], weights
    )
    pieces["train"] = held.train.take(chosen)
    encoded["train"] = encoded["train"].take(chosen)
    lengths["train"] = taken
    _check_lengths(spec, lengths)
    train_tokens = int(taken.sum())
    segments = {"train": max(1, min(spec.segments, train_tokens // SEGMENT_TOKENS))}
    writer = SegmentWriter(work, tokenizer.separator_token, _counter(tokenizer))
    total = sum(int(own.sum()) for own in lengths.values())
    splits = {}
    with (
        progress.stage("write"),
        progress.bar("write", total=total, unit="tok", unit_scale=True) as bar,
    ):
        for name in SPLITS:
            own = pieces[name]
            splits[name] = writer.write(
                name,
                own,
                encoded[name],
                lengths[name],
                segments.get(name, 1),
                own.content_hash(table.order_keys),
                bar,
            )
    return WrittenCorpus(
        splits=splits,
        content_hash=writer.content_hash,
        documents_sha256=write_split_documents(
            work, {name: _documents_of(table, pieces[name], lengths[name]) for name in held.splits}
        ),
        tokenizer=tokenizer,
        source_tokens=_by_source(table, pieces, lengths, len(sources)),
        notes=[
            *notes_on_overlap,
            *held.notes,
            *notes,
            *_notes_on_segments(spec, segments["train"], train_tokens),
            *_notes_on_splits(spec, splits, held.unused),
        ],
    )


def _documents_of(table: DocumentTable, pieces: Pieces, lengths: Ints) -> SplitDocuments:
    """Which document each token of a split is of, the documents numbered from 0 as they come."""
    _, first, document = np.unique(pieces.numbers, return_index=True, return_inverse=True)
    by_place = np.argsort(np.argsort(first))
    return SplitDocuments(
        tokens=tuple(lengths.tolist()),
        document=tuple(by_place[document].tolist()),
        source=tuple(table.sources[pieces.rows].tolist()),
    )


def _flag(spec: CorpusSpec, split: str) -> str:
    """What decides the size of a split, as far as flags do."""
    if split == "val" and spec.validation is not None:
        return f"--validation {spec.validation}"
    if split == "val" and spec.validation_share is not None:
        return f"--validation-share {spec.validation_share}"
    if split == "train":
        return "--source" if spec.tokens is None else f"--tokens {spec.tokens}"
    is_default = spec.eval_tokens == CorpusSpec.eval_tokens
    return "--source" if is_default else f"--eval-tokens {spec.eval_tokens}"


def _check_lengths(spec: CorpusSpec, lengths: dict[str, Ints]) -> None:
    """Raise `UserError` where a split is too small for any search."""
    for name, own in lengths.items():
        if (tokens := int(own.sum())) < LEAST_TOKENS[name]:
            raise UserError(
                f"{_flag(spec, name)}: too little text: {name} has {tokens} tokens, and a search "
                f"takes at least {LEAST_TOKENS[name]}: give more, or --tokenizer byte, which makes "
                "more tokens of it"
            )


def _documents(table: DocumentTable, kept: Ints) -> Documents:
    return Documents(
        rows=kept,
        sizes=table.text_bytes[kept],
        keys=table.order_keys[kept],
        numbers=table.numbers[kept],
        sources=table.sources[kept],
    )


def _bytes(pieces: Any) -> int:
    return sum(own.bytes for own in pieces)


def _counter(tokenizer: Any) -> Any:
    def count_bytes(tokens: list[int]) -> int:
        return len(tokenizer.decode_bytes(tokens))

    return count_bytes


def _by_source(
    table: DocumentTable, pieces: dict[str, Pieces], lengths: dict[str, Ints], count: int
) -> Ints:
    sources = np.concatenate([table.sources[pieces[name].rows] for name in SPLITS])
    tokens = np.concatenate([lengths[name] for name in SPLITS])
    return np.bincount(sources, weights=tokens, minlength=count).astype(np.int64)


def _notes_on_segments(spec: CorpusSpec, segments: int, tokens: int) -> list[str]:
    if segments == spec.segments:
        return []
    return [
        f"train is in {counted(segments, 'segment')} instead of {spec.segments}: it has "
        f"{tokens:,} tokens, and examples don't reach over a segment's end"
    ]


def _notes_on_splits(spec: CorpusSpec, splits: dict[str, Split], unused: int) -> list[str]:
    notes = []
    if unused:
        notes.append(
            f"{unused:,} bytes around the excerpts for validation and test are in no split, to "
            "keep the text beside them out of training"
        )
    for name in ("val", "test"):
        if splits[name].tokens > spec.eval_tokens and spec.validation_share is None:
            notes.append(
                f"{name} has {splits[name].tokens:,} tokens, more than --eval-tokens "
                f"{spec.eval_tokens:,}: splits are measured in bytes, 4 for a token, to be the "
                "same with every tokenizer"
            )
    return notes
