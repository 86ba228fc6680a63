# ruff: noqa: RUF001  other alphabets
"""Text files in any encoding: the text to the character, or a refusal that says where."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers import encodings

Read = Callable[..., Any]
FRENCH = "L'été dernier, nous étions à la forêt. « Très beau », dit l'élève — où êtes-vous ?\r\n"
GERMAN = "Über die Straße läuft ein großer Bär; er möchte süße Äpfel.\n"
ENGLISH = (
    "It was a café with a naïve owner. “Don’t,” she said — the price is 5 €.\n" + "plain " * 90
)
MIXED = "Das Café lag am Fluß. " + GERMAN * 3
TEXTS = {"French": FRENCH, "German": GERMAN, "English": ENGLISH, "mixed": MIXED}
RUSSIAN = "Все счастливые семьи похожи друг на друга.\n"
CHINESE = "人人生而自由，在尊严和权利上一律平等。\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. Děti si hrají venku na hřišti.\n"
POLISH = "Zażółć gęślą jaźń. W Szczebrzeszynie chrząszcz brzmi w trzcinie.\n"
TURKISH = "Pijamalı hasta yağız şoföre çabucak güvendi. Çocuklar dışarıda.\n"
HUNGARIAN = "Árvíztűrő tükörfúrógép. A gyerekek az őszi erdőben sok szép követ gyűjtöttek.\n"
CROATIAN = "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima; čežnja.\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.txt"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_in_utf_8_is_kept(
    read: Read, tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(text.encode())
    expected = text.removeprefix("\ufeff")
    assert "".join(read(path, separator=None).documents) == expected
    marked = codecs.BOM_UTF8 + text.encode()
    path.write_bytes(marked)
    assert "".join(read(path, separator=None).documents) == text


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("bits", ["16", "32"])
def test_utf_16_and_32_with_a_mark(read: Read, path: Path, bits: str, order: str) -> None:
    text = (RUSSIAN + CHINESE + "\U0001f41d\r\n") * 3
    path.write_bytes(f"\ufeff{text}".encode(f"utf-{bits}-{order}"))
    assert read(path).documents == [text]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [FRENCH, RUSSIAN, CHINESE, ENGLISH, CZECH])
def test_utf_16_without_a_mark(read: Read, path: Path, encoding: str, text: str) -> None:
    path.write_bytes(text.encode(encoding))
    found = read(path)
    assert found.documents == [text]
    assert found.notes == [f"read as {encoding}, which has no mark here: a.txt"]


@pytest.mark.parametrize("times", [1, 50])
@pytest.mark.parametrize("language", TEXTS)
def test_cp1252(read: Read, path: Path, language: str, times: int) -> None:
    text = TEXTS[language] * times
    path.write_bytes(text.encode("cp1252"))
    found = read(path)
    assert found.documents == [text]
    assert found.notes == ["read as cp1252, being no UTF-8: a.txt"]


def test_cp1252_long_after_the_beginning(read: Read, path: Path) -> None:
    text = "plain ASCII lines\n" * 60_000 + FRENCH * 10 + "and on\n" * 100_000
    path.write_bytes(text.encode("cp1252"))
    assert read(path).documents == [text]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-8"),
        (CZECH, "cp1250"),
        (CZECH, "iso8859-2"),
        (POLISH, "cp1250"),
        (TURKISH, "cp1254"),
        (HUNGARIAN, "cp1250"),
        (CROATIAN, "cp1250"),
        (FRENCH, "utf-8"),
        (GERMAN, "cp850"),
        (GERMAN, "mac-roman"),
    ],
)
def test_what_is_not_sure_is_refused(read: Read, path: Path, text: str, encoding: str) -> None:
    """Other encodings, and UTF-8 with a damaged byte."""
    content = b"first\nsecond\n" + text.encode(encoding, "ignore") * 5
    if encoding == "utf-8":
        content += b"\xe9\xff" + text.encode()
    place = next(i for i in range(len(content)) if not is_utf_8_until(content, i))
    line = content[:place].count(b"\n") + 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a.txt, line {line}, byte {place}: 0x.. is not UTF-8"):
        read(path)


def is_utf_8_until(content: bytes, place: int) -> bool:
    """Whether the bytes before `place`, and the character that begins there, are UTF-8."""
    try:
        content[: place + 1].decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and error.end == place + 1:
            try:
                content[: place + 4].decode()
            except UnicodeDecodeError as later:
                return later.start > place or later.reason == "unexpected end of data"
            return True
        return error.start > place
    return True


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("bad_at", [0, 1, 7, 8, 9])
def test_the_place_is_right_wherever_chunks_end(
    read: Read, path: Path, monkeypatch: pytest.MonkeyPatch, size: int, bad_at: int
) -> None:
    monkeypatch.setattr(encodings, "CHUNK_BYTES", size)
    content = "中\n中\né\n中中".encode()
    places = [i for i in range(len(content)) if content[i] & 0xC0 != 0x80]
    place = places[min(bad_at, len(places) - 1)]
    path.write_bytes(content[:place] + b"\xff" + content[place:])
    line = content[:place].count(b"\n") + 1
    with pytest.raises(UserError, match=rf"line {line}, byte {place}: 0xff"):
        read(path)


def test_binary_files_are_refused(read: Read, path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\6\0\0\0")
    with pytest.raises(UserError, match=r"a.txt: byte 8 is NUL: a binary file, not text"):
        read(path)
