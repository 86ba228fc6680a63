"""Which document each token of validation and test is of: `documents.json` beside the segments.

A loss on a split is a mean over text of a few hundred documents, and how far it holds for other
text depends on them, not on the tokens. No torch here.

Shapes: M pieces of text in the order in which they stand in a split; N windows of it, T tokens that
each predicts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file

FILE = "documents.json"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SplitDocuments:
    """The pieces of text that one split is made of."""

    tokens: tuple[int, ...]
    """(M,) The tokens of each piece, the separator after it included."""
    document: tuple[int, ...]
    """(M,) The number of the document that it is of; one may give several pieces."""
    source: tuple[int, ...]
    """(M,) The index of its source in the manifest."""

    def of_targets(self, windows: Ints, seq_len: int) -> Ints:
        """The document's number of each token that windows (N,) of the split predict: (N, T)."""
        of_token = np.repeat(np.array(self.document, np.int64), self.tokens)
        return of_token[windows[:, None] * seq_len + np.arange(1, seq_len + 1)]

    def source_of(self) -> dict[int, int]:
        """The source of each document, by the document's number."""
        return dict(zip(self.document, self.source, strict=True))


def write_split_documents(folder: Path, splits: Mapping[str, SplitDocuments]) -> str:
    """Write the file; returns its SHA-256 (hexadecimal), for the manifest."""
    fields = {
        name: {"tokens": own.tokens, "document": own.document, "source": own.source}
        for name, own in splits.items()
    }
    content = json.dumps(checked_json.seal(fields), separators=(",", ":")).encode()
    with atomic_file(folder / FILE) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def read_split_documents(folder: Path, sha256: str) -> dict[str, SplitDocuments]:
    """The pieces of each split in the corpus in `folder`, whose manifest has this hash.

    Raises:
        UserError: the file is missing, or it is not the one that was written.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("its SHA-256 is not the one in the manifest")
        raw = checked_json.unseal(checked_json.loads(content))
        return {name: checked_json.build(SplitDocuments, own) for name, own in raw.items()}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {reason}: remove {folder} and prepare it again") from None
