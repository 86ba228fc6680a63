"""Web pages in their encodings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError

Read = Callable[..., Any]
RUSSIAN = "\u0412\u0441\u0435 \u0441\u0447\u0430\u0441\u0442\u043b\u0438\u0432\u044b\u0435"
FRENCH = "L'\u00e9t\u00e9, \u00ab tr\u00e8s beau \u00bb \u2014 l'\u0153uvre"


@pytest.mark.parametrize(
    ("text", "encoding", "declared"),
    [
        (RUSSIAN, "cp1251", '<meta charset="windows-1251">'),
        (RUSSIAN, "koi8-r", '<meta http-equiv="Content-Type" content="text/html; charset=KOI8-R">'),
        (FRENCH, "cp1252", "<meta charset=iso-8859-1>"),
        (FRENCH, "cp1252", "<meta charset=utf-8>"),
        (FRENCH, "cp1252", ""),
        (RUSSIAN, "utf-8", "<meta charset=iso-8859-1>"),
        (RUSSIAN, "utf-16", ""),
        (RUSSIAN, "utf-8-sig", '<?xml version="1.0" encoding="utf-8"?>'),
    ],
)
def test_encodings(read: Read, tmp_path: Path, text: str, encoding: str, declared: str) -> None:
    page = f"<html><head>{declared}</head><p>{text}</p></html>"
    (tmp_path / "a.html").write_bytes(page.encode(encoding))
    assert read(tmp_path / "a.html").documents == [page]


def test_an_unsure_encoding_is_told(read: Read, tmp_path: Path) -> None:
    page = f"<p>{RUSSIAN}</p>".encode("cp1251")
    (tmp_path / "a.html").write_bytes(page)
    found = read(tmp_path / "a.html")
    assert found.documents == [page]
    assert found.notes == ["of no sure encoding, which is guessed: a.html"]
    (tmp_path / "a.html").write_bytes(b"\x89PNG\0\0\xff")
    with pytest.raises(UserError, match=r"a.html: byte 4 is NUL: a binary file"):
        read(tmp_path / "a.html")
