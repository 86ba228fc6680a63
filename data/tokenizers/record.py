"""A tokenizer as the manifest records it, and the files that its corpus keeps of it.

Nothing here loads a tokenizer, nor numpy: whatever opens a corpus reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError

GPT2, BYTE, CHAR, BPE, FILE = "gpt2", "byte", "char", "bpe", "file"
GPT2_ENTRIES = 50_257
TOKENIZER_FILE = "tokenizer.json"
"""The file of a tokenizer in its corpus' folder, in the format of the `tokenizers` library."""


def sha256_of(content: str) -> str:
    """The SHA-256 of a file with this content, in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def kept_files(record: Mapping[str, Any]) -> list[str]:
    """The names of the tokenizer's files in its corpus' folder."""
    return [TOKENIZER_FILE] if record.get("kind", GPT2) in (CHAR, BPE, FILE) else []


def read_kept(record: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The content of each of `kept_files`. Raises `UserError` if one is missing, or has another
    hash than in the record."""
    found = {}
    for name in kept_files(record):
        path = folder / name
        try:
            found[name] = path.read_bytes().decode()
        except FileNotFoundError:
            raise UserError(
                f"{path}: the tokenizer's file is missing: remove {folder} and prepare it again"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "damaged"
            raise UserError(f"{path}: cannot be read ({reason})") from None
        files = record.get("files")
        if not isinstance(files, dict) or sha256_of(found[name]) != files.get(name):
            raise UserError(
                f"{path}: damaged, its SHA-256 is not the one on record: remove {folder} and "
                "prepare it again"
            )
    return found


def vocab_size_of(record: Mapping[str, Any]) -> int:
    """The entries of the tokenizer with this record. One without a kind is GPT-2's, of a corpus
    that was made when there was no other."""
    return int(record["vocab_size"]) if "kind" in record else GPT2_ENTRIES
