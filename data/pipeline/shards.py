"""Documents in shards: files of a bounded size that another process, or machine, goes on with.

A shard goes through four files, NumPy archives (.npz) whose members carry a CRC-32. Each appears
whole, by a rename, or not at all:

    raw-00012.npz       the documents as their sources hold them
    cleaned-00012.npz   as clean text, with the digests that tell repetition
    decided-00012.npz   what of it is new
    annotated-00012.npz verdicts, signatures and tokens of what is kept
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from minigpt_search.data.common.documents import Document, Form, RawDocument
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file

SHARD_DOCUMENTS = 20_000
"""The most documents in a shard: each has a signature of 500 bytes."""
RAW, CLEANED, DECIDED, ANNOTATED = "raw", "cleaned", "decided", "annotated"
"""The stages of a shard, which its files are named after."""

Arrays = dict[str, npt.NDArray[Any]]
_FORMS: tuple[Form, ...] = get_args(Form)


def shard_file(folder: Path, stage: str, number: int) -> Path:
    """The path of the file that a stage makes of a shard."""
    return folder / f"{stage}-{number:05d}.npz"


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write `path`, which is whole or not there."""
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: Path, *names: str) -> Arrays:
    """Read the arrays in `path`, or those of them that are named.

    Raises:
        UserError: it is damaged. It is removed, so that the next run makes it again.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {name: opened[name] for name in names or opened.files}
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        path.unlink(missing_ok=True)
        raise UserError(
            f"{path}: damaged ({type(error).__name__}), removed: run the same command again"
        ) from None


def write_raw_shards(documents: Iterable[RawDocument], folder: Path, shard_bytes: int) -> int:
    """Write all documents in order; returns how many shards there are. One has `shard_bytes` of
    text or little more, and a document at least."""
    count = 0
    shard: list[RawDocument] = []
    room = shard_bytes
    for document in documents:
        shard.append(document)
        room -= len(document.text)
        if room <= 0 or len(shard) >= SHARD_DOCUMENTS:
            save_arrays(shard_file(folder, RAW, count), _pack_raw(shard))
            shard, room, count = [], shard_bytes, count + 1
    if shard:
        save_arrays(shard_file(folder, RAW, count), _pack_raw(shard))
        count += 1
    return count


def _pack_raw(documents: Sequence[RawDocument]) -> Arrays:
    texts = [
        text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        for _, _, text, _ in documents
    ]
    return {
        "sources": np.array([each.source for each in documents], np.int32),
        "numbers": np.array([each.number for each in documents], np.int64),
        "forms": np.array([_FORMS.index(each.form) for each in documents], np.uint8),
        "are_bytes": np.array([isinstance(each.text, bytes) for each in documents], np.bool_),
        **_pack_texts(texts),
    }


def read_raw_shard(path: Path) -> Iterator[RawDocument]:
    """Yield the documents of a raw shard in order."""
    arrays = load_arrays(path)
    rows = zip(
        *(arrays[name].tolist() for name in ("sources", "forms", "are_bytes", "numbers")),
        _texts(arrays),
        strict=True,
    )
    for source, form, is_bytes, number, text in rows:
        plain = text if is_bytes else text.decode("utf-8", "surrogatepass")
        yield RawDocument(source, _FORMS[form], plain, number)


def pack_clean(documents: Sequence[Document]) -> Arrays:
    """Turn clean documents into arrays."""
    return {
        "sources": np.array([each.source for each in documents], np.int32),
        "numbers": np.array([each.number for each in documents], np.int64),
        **_pack_texts([each.text.encode() for each in documents]),
    }


def unpack_clean(arrays: Arrays) -> list[Document]:
    """Turn the arrays of `pack_clean` back into documents."""
    texts = (text.decode() for text in _texts(arrays))
    columns = (arrays["sources"].tolist(), texts, arrays["numbers"].tolist())
    return list(map(Document, *columns))


def _pack_texts(texts: Sequence[bytes]) -> Arrays:
    return {
        "text_lengths": np.fromiter(map(len, texts), np.int64, len(texts)),
        "text": np.frombuffer(b"".join(texts), np.uint8),
    }


def _texts(arrays: Arrays) -> Iterator[bytes]:
    text, start = arrays["text"], 0
    for length in arrays["text_lengths"].tolist():
        yield text[start : start + length].tobytes()
        start += length
