"""Exact repetition: whole documents, and long paragraphs within and across documents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from data.documents import Document

PARAGRAPH_CHARACTERS = 80
"""Shorter paragraphs may be repeated: headings, forms of address, lines of a list."""


class RepeatFilter:
    """Keeps the first of each document and of each long paragraph.

    Memory: about 100 bytes for each paragraph of at least 80 characters, as 8-byte hashes.
    """

    def __init__(self) -> None:
        self.dropped: Counter[tuple[int, str]] = Counter()
        """Documents by (source, reason)."""
        self._documents: set[bytes] = set()
        self._paragraphs: set[bytes] = set()

    def keep_new(self, batches: Iterable[list[Document]]) -> Iterator[Document]:
        """The documents that are new, without the paragraphs that are not."""
        for batch in batches:
            for document in batch:
                kept = self._new_part(document)
                if kept:
                    yield Document(document.source, kept)

    def _new_part(self, document: Document) -> str:
        if not document.text:
            self.dropped[document.source, "empty"] += 1
            return ""
        if not self._is_new(document.text, self._documents, size=16):
            self.dropped[document.source, "exact_duplicate"] += 1
            return ""
        lines = document.text.split("\n")
        kept = [
            line
            for line in lines
            if len(line) < PARAGRAPH_CHARACTERS or self._is_new(line, self._paragraphs, size=8)
        ]
        if len(kept) == len(lines):
            return document.text
        if not any(len(line) >= PARAGRAPH_CHARACTERS for line in kept):
            self.dropped[document.source, "repeated_paragraphs"] += 1
            return ""
        return "\n".join(kept).strip()

    @staticmethod
    def _is_new(text: str, seen: set[bytes], size: int) -> bool:
        digest = hashlib.blake2b(text.encode(), digest_size=size).digest()
        if digest in seen:
            return False
        seen.add(digest)
        return True
