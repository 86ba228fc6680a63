"""A token tensor in the file format of `torch.save`, written without importing torch.

Importing torch takes longer than everything else that is done when all documents are encoded. The
format is a zip archive, not compressed, of the tensor's bytes and a pickle that names the functions
that put it together (torch/serialization.py, "zipfile-based file format", since torch 1.6).
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile

import numpy as np
import numpy.typing as npt

_ALIGNMENT = 64
"""Bytes; as torch aligns the tensor's, for those who map the file."""
_HEADER_BYTES = 30
"""Of a member in a zip archive, before its name and its extra field."""


def tensor_file(tokens: npt.NDArray[np.uint16]) -> memoryview:
    """The content of a file that `torch.load` reads as a 1-D uint16 tensor."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), _pickle(len(tokens)))
        archive.writestr(zipfile.ZipInfo("archive/byteorder"), sys.byteorder)
        data = zipfile.ZipInfo("archive/data/0")
        before = packed.tell() + _HEADER_BYTES + len(data.filename) + 4
        padding = -before % _ALIGNMENT
        data.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        archive.writestr(data, tokens.data)
        archive.writestr(zipfile.ZipInfo("archive/version"), "3\n")
    return packed.getbuffer()


def _pickle(length: int) -> bytes:
    """Instructions for: `_rebuild_tensor_v3(storage "0", offset 0, (length,), stride (1,), no
    gradient, no hooks, torch.uint16)`."""
    storage = b"".join(
        [
            pickle.MARK + _text("storage"),
            _global("torch.storage", "UntypedStorage"),
            _text("0"),
            _text("cpu"),
            _int(2 * length),
            pickle.TUPLE + pickle.BINPERSID,
        ]
    )
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    return b"".join(
        [
            pickle.PROTO + b"\x02",
            _global("torch._utils", "_rebuild_tensor_v3") + pickle.MARK,
            storage + _int(0),
            _int(length) + pickle.TUPLE1,
            _int(1) + pickle.TUPLE1,
            pickle.NEWFALSE + hooks + _global("torch", "uint16"),
            pickle.TUPLE + pickle.REDUCE + pickle.STOP,
        ]
    )


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text)) + text.encode()


def _int(number: int) -> bytes:
    return pickle.dumps(number, protocol=2)[2:-1]  # without its beginning and its end


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()
