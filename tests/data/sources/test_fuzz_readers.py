"""Damaged files of every kind, and any bytes at all: documents come, or one line that names the
file. What has a checksum is read as it was written, or refused.

MINIGPT_FUZZ=20 python -m pytest tests/data/sources/test_fuzz_readers.py -s   # 20 times the cases
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from minigpt_search.data.common.errors import UserError

Read = Callable[..., Any]
TIMES = int(os.environ.get("MINIGPT_FUZZ", "1"))
TEXTS = ["Bees fly.\n", "caf\u00e9 \U0001f41d, \u4e2d\u6587\n", 'a "quoted" one;\twith tabs\n'] * 5
ROWS = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
CHATS = [{"messages": [{"role": "user", "content": text}], "id": 1} for text in TEXTS]
PLAIN = "<|endoftext|>".join(TEXTS)


def table(delimiter: str) -> bytes:
    quoted = ('"{}"'.format(text.replace('"', '""')) for text in TEXTS)
    return "\r\n".join([f"id{delimiter}text", *(f"1{delimiter}{text}" for text in quoted)]).encode()


def parquet_file(rows: list[dict[str, Any]]) -> bytes:
    written = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), written, write_page_checksum=True)
    return written.getvalue()


CONTENTS: dict[str, bytes] = {
    "a.txt": PLAIN.encode(),
    "b.txt": f"\ufeff{PLAIN}".encode("utf-16-le"),
    "c.txt": PLAIN.encode("utf-16-be"),
    "d.txt": "Der große Bär läuft über die Straße.\n".encode("cp1252") * 9,
    "a.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "b.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in CHATS).encode(),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "b.json": json.dumps({"data": ROWS, "n": 3}).encode(),
    "a.csv": table(","),
    "a.tsv": table("\t"),
    "a.parquet": parquet_file(ROWS),
    "b.parquet": parquet_file(CHATS),
    "a.bin": np.array([33, 5000, 50_256, 12_520, 233, 50_256] * 20, "<u2").tobytes(),
    "a.xml": b"<mediawiki><page><title>T</title><ns>0</ns><revision><text>x y</text></revision>"
    b"</page></mediawiki>",
    "a.txt.gz": gzip.compress(PLAIN.encode(), mtime=0),
    "a.txt.bz2": bz2.compress(PLAIN.encode()),
    "a.txt.xz": lzma.compress(PLAIN.encode()),
    "a.txt.zst": zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN.encode()),
    "a.jsonl.gz": gzip.compress("\n".join(map(json.dumps, ROWS)).encode()),
}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content cut, flipped, without a part, with a part again, or with one of another kind."""
    start, length = chance.randrange(len(content)), chance.choice((1, 1, 7, 100))
    part = content[start : start + length]
    match chance.randrange(5):
        case 0:
            return content[:start]
        case 1:
            flipped = bytes([content[start] ^ 1 << chance.randrange(8)])
            return content[:start] + flipped + content[start + 1 :]
        case 2:
            return content[:start] + content[start + length :]
        case 3:
            return content[:start] + part + content[start:]
    odd = (b"\0", b'"', b"\xff\xfe", b"\r", b"{", b"]", b"\xed\xa0\x80", b"\\ud800", b"9" * 5000)
    return content[:start] + chance.choice(odd) + content[start:]


def outcome(read: Read, path: Path, root: Path, **fields: Any) -> list[str | bytes] | None:
    """The documents; None where the file is refused by a line that names it."""
    try:
        documents = read(path, root, **fields).documents
    except UserError as error:
        assert str(path) in str(error)
        return None
    for each in documents:
        if isinstance(each, str):
            each.encode()  # no half surrogates
    return documents


@pytest.mark.parametrize("name", CONTENTS)
def test_damaged(read: Read, shared_home: Path, tmp_path: Path, name: str) -> None:
    path, content, chance = tmp_path / name, CONTENTS[name], random.Random(name)
    path.write_bytes(content)
    written, counts = outcome(read, path, shared_home), Counter[str]()
    assert written
    for number in range(200 * TIMES):
        changed = damaged(content, chance)
        path.write_bytes(changed)
        found = outcome(read, path, shared_home, bad_rows=("refuse", "skip")[number % 2])
        refused_or_same = found is None or found == written
        counts["refused" if found is None else "the same" if found == written else "other"] += 1
        if name.endswith((".gz", ".bz2", ".xz", ".zst")):
            # One whole file after another is a file again, and so is nothing at all.
            assert refused_or_same or changed in (content * 2, b""), changed
    print(f"\n{name}: {dict(counts)}")


@pytest.mark.parametrize("name", CONTENTS)
@settings(
    max_examples=60 * TIMES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=st.binary(max_size=200))
def test_any_bytes(
    read: Read, shared_home: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    outcome(read, tmp_path / name, shared_home)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "messages", "role", "content", "prompt", "completion", "data"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@settings(
    max_examples=200 * TIMES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(JSON, max_size=3), template=st.sampled_from([None, "{text}", "{data}\\n"]))
def test_any_json(
    read: Read,
    shared_home: Path,
    tmp_path: Path,
    name: str,
    rows: list[Any],
    template: str | None,
) -> None:
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(text if name == "a.jsonl" else json.dumps(rows))
    for bad_rows in ("refuse", "skip"):
        outcome(read, tmp_path / name, shared_home, template=template, bad_rows=bad_rows)
