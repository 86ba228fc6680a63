"""The prepared documents on disk: tokens and signatures in files, a few numbers each in memory."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from minigpt_search.data.filtering.annotate import AnnotatedBatch
from minigpt_search.data.filtering.near_duplicates import PERMUTATIONS

MOST_SAMPLES = 50
"""The samples kept of each source."""


class DocumentTable:
    """Columns of all documents that were annotated, in the order they were read.

    A long document comes in parts, each a row; `numbers` says which rows are of one document.

    Memory: 57 bytes a row. Tokens (2 bytes each) and signatures (500 bytes a row) are spooled to
    files in `folder` and mapped for reading.
    """

    def __init__(self, folder: Path) -> None:
        self._tokens_path = folder / "tokens.spool"
        self._signatures_path = folder / "signatures.spool"
        self._tokens_file = self._tokens_path.open("wb")
        self._signatures_file = self._signatures_path.open("wb")
        self._sources, self._verdicts = array("i"), array("i")
        self._numbers, self._characters = array("q"), array("q")
        self._keys, self._bytes, self._lengths = array("Q"), array("q"), array("q")
        self.samples: dict[int, list[str]] = {}
        """The beginnings of some of each source's dropped documents."""
        self.rules: list[str] = [""]
        """The names of the rules that documents failed, after an empty one."""

    def __enter__(self) -> DocumentTable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tokens_file.close()
        self._signatures_file.close()

    def append(self, batch: AnnotatedBatch) -> None:
        """Add a batch of documents."""
        for rule in batch.failed:
            if rule not in self.rules:
                self.rules.append(rule)
            self._verdicts.append(self.rules.index(rule))
        self._sources.extend(batch.sources)
        self._numbers.extend(batch.numbers)
        self._characters.extend(batch.characters.tolist())
        for source, text in batch.samples:
            kept = self.samples.setdefault(source, [])
            if len(kept) < MOST_SAMPLES:
                kept.append(text)
        self._keys.extend(batch.order_keys.tolist())
        self._bytes.extend(batch.text_bytes.tolist())
        self._lengths.extend(batch.lengths.tolist())
        self._tokens_file.write(batch.tokens.tobytes())
        self._signatures_file.write(batch.signatures.tobytes())

    def flush(self) -> None:
        """Make what was appended readable through `tokens` and `signatures`."""
        self._tokens_file.flush()
        self._signatures_file.flush()

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def sources(self) -> npt.NDArray[np.int64]:
        """(N,) The index of each document's source in the list of sources."""
        return np.frombuffer(self._sources, np.int32).astype(np.int64)

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """(N,) The number of the document that each row belongs to, which is that of the rows
        before it or higher."""
        return np.frombuffer(self._numbers, np.int64)

    @property
    def characters(self) -> npt.NDArray[np.int64]:
        """(N,) The characters of each text."""
        return np.frombuffer(self._characters, np.int64)

    @property
    def verdicts(self) -> npt.NDArray[np.int32]:
        """(N,) The index in `rules` of the rule that each document failed; 0 for none."""
        return np.frombuffer(self._verdicts, np.int32)

    @property
    def order_keys(self) -> npt.NDArray[np.uint64]:
        """(N,) The hash by which each document is sorted."""
        return np.frombuffer(self._keys, np.uint64)

    @property
    def text_bytes(self) -> npt.NDArray[np.int64]:
        """(N,) The size of each text in UTF-8."""
        return np.frombuffer(self._bytes, np.int64)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) The tokens of each row, without separators; 0 where it failed a rule."""
        return np.frombuffer(self._lengths, np.int64)

    def signatures(self) -> npt.NDArray[np.uint32]:
        """(N, P) The MinHash signatures, mapped from their file."""
        return np.memmap(self._signatures_path, np.uint32, "r", shape=(len(self), PERMUTATIONS))

    def tokens(self) -> npt.NDArray[np.uint16]:
        """The tokens of all documents in a row, mapped from their file."""
        return np.memmap(self._tokens_path, np.uint16, "r")
