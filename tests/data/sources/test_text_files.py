"""Text files and folders of files: what is read, what is not, and what is said of it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.local_files import file_sources
from minigpt_search.data.sources.readers.compressed import OPENERS

Read = Callable[..., Any]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def test_txt_is_one_document_or_several(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeffone\ntwo\n")
    assert read(path).documents == ["one\ntwo\n"]
    path.write_text("one\n<|endoftext|>\ntwo <|endoftext|> inside\n")
    assert read(path).documents == ["one\n", "two ", " inside\n"]
    assert read(path, separator=None).documents == [path.read_text()]
    assert read(path, separator="two ").documents[1:] == ["<|endoftext|> inside\n"]


@pytest.mark.parametrize(
    "text",
    ["  indented\n\ttabs\n\n\n\nblank  double \n ", "dos\r\nmac\rno end", "\n\n", "\x0c\u2028\x85"],
)
@pytest.mark.parametrize("name", ["a.txt", "b.md", "c.py", "D.TXT", "e.yaml"])
def test_white_space_is_text(read: Read, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert read(path).documents == [text]


@pytest.mark.parametrize("ending", OPENERS)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.json"])
def test_compressed(read: Read, tmp_path: Path, ending: str, name: str) -> None:
    texts = ["one", "two\nlines", "x" * 300_000]
    contents = {
        "a.txt": "<|endoftext|>".join(texts),
        "a.jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts),
        "a.csv": "text\n" + "".join(f'"{text}"\n' for text in texts),
        "a.json": json.dumps(texts, indent=1),
    }
    packed = PACKERS[ending](contents[name].encode())
    path = tmp_path / (name + ending)
    path.write_bytes(packed)
    assert read(path).documents == texts
    path.write_bytes(packed + packed)  # two that were joined are one
    if name != "a.json":
        assert len(read(path, bad_rows="skip").documents) > 3
    for cut in (1, 5, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:cut])
        with pytest.raises(UserError, match=rf"{name}{ending}: cannot be read .*: is it whole\?"):
            read(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.7z"])
def test_archives_are_to_be_unpacked(read: Read, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=r"an archive of files: unpack it"):
        read(tmp_path / name)


def test_unknown_endings(read: Read, tmp_path: Path) -> None:
    for name in ("a.pdf", "noending"):
        (tmp_path / name).write_text("x")
        with pytest.raises(UserError, match=rf"{name}: its ending says none of .txt, .md, source"):
            read(tmp_path / name)
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a.txt: neither a file nor a folder"):
        read(tmp_path / "a.txt")


def make_folder(path: Path) -> None:
    (path / "deep" / ".git").mkdir(parents=True)
    (path / "__MACOSX").mkdir()
    (path / "loop").symlink_to(path, target_is_directory=True)
    (path / "broken").symlink_to(path / "nowhere")
    (path / ".hidden").write_text("x")
    (path / "__MACOSX" / "x.txt").write_text("x")
    (path / "deep" / ".git" / "x.txt").write_text("x")
    (path / "b.txt").write_text("two")
    (path / "deep" / "a.txt").write_text("three")
    (path / "deep" / "c.md").write_text("four")
    (path / "a.jsonl").write_text('{"text": "one"}\n')
    (path / "README").write_text("x")
    (path / "i.png").write_text("x")
    (path / "model.bin").write_text("x")


def test_folder(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    make_folder(folder)
    found = read(folder)
    assert found.documents == ["one", "two", "three", "four"]
    assert found.notes == [
        "notes/: read 2 .txt, 1 .jsonl, 1 .md; not read: 1 .bin, 1 .png, 1 without an ending; "
        "left out: 2 hidden, 1 __MACOSX, 1 broken link, 1 folder that was there before"
    ]
    (folder / "page.html").write_text("<p>one</p>")
    sources = file_sources(folder, 4, CorpusSpec(), tmp_path)
    assert [(each.name, each.form, each.group) for each in sources] == [
        ("notes (text)", "plain", 4),
        ("notes (html)", "html_page", 4),
    ]


def test_folder_without_text_says_what_is_in_it(read: Read, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", ".x.txt", "c.zip"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=r"not read: 2 .png, 1 .zip .to be unpacked.; left out: 1"):
        read(tmp_path)


def test_files_that_are_no_text_are_passed_over_if_they_are_few(read: Read, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.py").write_text(f"x = {number}\n")
    (tmp_path / "package.json").write_text('{"name": "x", "files": []}')
    (tmp_path / "tsconfig.json").write_text("{ // a comment\n}")
    (tmp_path / "z.txt").write_bytes(b"\0\1\2")
    (tmp_path / "empty.py").write_text("")
    found = read(tmp_path)
    assert len(found.documents) == 5
    assert found.passed_over == {"not_text": 3, "empty_file": 1}
    (note,) = (note for note in found.notes if note.startswith("no text is in"))
    assert "package.json (line 1: no column 'text'; there are 'name', 'files'" in note
    for number in range(3):
        (tmp_path / f"{number}.py").unlink()
    with pytest.raises(UserError, match=r"package.json, line 1: no .*; 2 other files can't be"):
        read(tmp_path)


def test_many_small_files(read: Read, tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number:05}.txt").write_text(f"text {number}\n")
    started = time.perf_counter()
    assert len(read(tmp_path).documents) == 2_000
    assert time.perf_counter() - started < 10
