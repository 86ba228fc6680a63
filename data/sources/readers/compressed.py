"""Compressed files as streams of their content: .gz, .bz2, .xz and .zst."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

DAMAGES = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading one that is damaged or cut may raise."""
_PACKED_BYTES = 2 * 1024
"""As little is unpacked at once: in text that repeats itself it may be some 10 MB."""
_LARGEST_WINDOW = 2**31
"""What `zstd --ultra --long=31` needs: the library refuses it by default."""


class _ZstdFile(io.RawIOBase):
    """The content of a .zst file. The library's own reader takes a cut file for a whole one."""

    def __init__(self, path: Path) -> None:
        import zstandard  # only needed here

        self._file = path.open("rb")
        self._new_frame = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj
        self._damage = zstandard.ZstdError
        self._frame: Any = None
        self._packed = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            packed = self._packed or self._file.read(_PACKED_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends within a frame")
                return 0
            self._frame = self._frame or self._new_frame()
            try:
                self._content = memoryview(self._frame.decompress(packed))
            except self._damage as error:
                raise OSError(str(error)) from None
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._content))
        buffer[:count], self._content = self._content[:count], self._content[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _open_zstd(path: Path) -> IO[bytes]:
    return io.BufferedReader(_ZstdFile(path))


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
"""What opens a file, by the last ending of its name."""


def open_content(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed where its name says that it is compressed."""
    opener = OPENERS.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")
