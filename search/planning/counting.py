"""What counting makes of the text that trials see: scored once for each size of it, for the ledger.

A table of 110,000 tokens takes a tenth of a second, of 10 million four seconds (2 cores,
2026-11-29), so nothing of it is kept but what it scores, in `corpus/NAME/counts/` too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.common.machine import usable_memory
from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.data.corpus.dataset import SegmentedTextDataset
from minigpt_search.model.batching.order import evenly_spaced
from minigpt_search.model.config import RunConfig
from minigpt_search.model.counting.baselines import BYTES_PER_TOKEN, counting_losses
from minigpt_search.model.counting.kneser_ney import LARGEST_VOCABULARY
from minigpt_search.model.run_length import RunLength
from minigpt_search.model.scoring.document_losses import losses_by_document
from minigpt_search.model.scoring.evaluate import scored_windows
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import BaselineRecord
from minigpt_search.search.results.baselines import Size, baseline_of, size_of

MOST_SIZES = 8
"""Sizes of text of one search that are counted, the first of those asked for."""
SHARE_OF_MEMORY = 0.25
"""A text whose counting takes a larger share of the memory is left out."""
FOLDER = "counts"


def count_what_is_missing(
    ledger: Ledger, corpus_folder: Path, configs: Iterable[RunConfig]
) -> str | None:
    """Append to `ledger` a record for each size of text that trials of `configs` see and that it
    lacks. Returns why some are left out, if some are."""
    sizes = _one_of_each_size(configs)
    missing = [size for size in sizes if baseline_of(ledger.baselines, size) is None]
    if not missing:
        return None
    try:
        corpus = open_corpus(corpus_folder)
        for config in missing:
            if len(ledger.baselines) >= MOST_SIZES:
                return f"what counting scores is told for the first {MOST_SIZES} sizes of text only"
            if (reason := _too_large(corpus, config)) is not None:
                return reason
            ledger.append(_known(corpus, config) or _counted(corpus, config))
    except UserError as error:  # at a search's end corpus or disk may be gone
        return f"not all was counted: {error}"
    return None


def _one_of_each_size(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """One configuration for each size of text, in their order."""
    sizes: dict[Size, RunConfig] = {}
    for config in configs:
        sizes.setdefault(size_of(config), config)
    return list(sizes.values())


def _too_large(corpus: Corpus, config: RunConfig) -> str | None:
    """Why the text of this size is not counted, if so."""
    in_split = corpus.manifest.splits["train"].tokens
    tokens = min(in_split, config.train.tokens_per_epoch or in_split)
    if corpus.vocab_size > LARGEST_VOCABULARY:
        return f"nothing is counted with a vocabulary of over {LARGEST_VOCABULARY:,} entries"
    if BYTES_PER_TOKEN * tokens > SHARE_OF_MEMORY * usable_memory():
        return f"counting {tokens:,} tokens takes too much of the memory here: no tables of counts"
    return None


def _counted(corpus: Corpus, config: RunConfig) -> BaselineRecord:
    seq_len, train = config.model.seq_len, config.train
    train_set, val_set = corpus.dataset("train", seq_len), corpus.dataset("val", seq_len)
    length = RunLength.of(config, len(train_set))
    scored = scored_windows(val_set, train.val_tokens)
    # Under wsd each seed has text of its own (`model/batching/order.py`): this is as much.
    losses = counting_losses(
        _windows(train_set, evenly_spaced(length.sequences, len(train_set))),
        _windows(val_set, scored),
        corpus.vocab_size,
    )
    documents = corpus.documents("val")
    record = BaselineRecord(
        seq_len=seq_len,
        tokens_per_epoch=train.tokens_per_epoch,
        val_tokens=train.val_tokens,
        counted_tokens=length.tokens_per_epoch,
        scored_tokens=len(scored) * seq_len,
        losses={name: float(own.mean()) for name, own in losses.items()},
        documents={
            name: losses_by_document(documents, scored, [torch.from_numpy(own)])
            for name, own in losses.items()
        }
        if documents
        else {},
    )
    path = _file(corpus, config)
    with suppress(OSError):  # a shared corpus may be read-only: it is counted again next time
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as file:
            file.write(json.dumps(checked_json.seal(dataclasses.asdict(record))).encode())
    return record


def _windows(dataset: SegmentedTextDataset, indices: Tensor) -> np.ndarray:
    """The windows at `indices` (N,) of a split: (N, T + 1) int64."""
    made = np.empty((len(indices), dataset.seq_len + 1), np.int64)
    for start, rows in zip(range(0, len(indices), 4096), indices.split(4096), strict=True):
        made[start : start + len(rows)] = dataset.windows(rows).numpy()
    return made


def _known(corpus: Corpus, config: RunConfig) -> BaselineRecord | None:
    """The record kept beside the corpus; None if there is none, or it is damaged."""
    try:
        raw = checked_json.unseal(checked_json.loads(_file(corpus, config).read_bytes()))
        return checked_json.build(BaselineRecord, raw)
    except (OSError, ValueError):
        return None


def _file(corpus: Corpus, config: RunConfig) -> Path:
    """Its name has all that the numbers depend on, the corpus' content too."""
    size = "-".join(str(part or "all") for part in size_of(config))
    return corpus.folder / FOLDER / f"{corpus.content_hash[:16]}-{size}.json"
