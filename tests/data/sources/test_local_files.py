"""The user's own files: each format, and what is said when one is broken."""

from __future__ import annotations

import bz2
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.local_files import PART_CHARACTERS, file_sources

PAGES = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">
<siteinfo><sitename>W</sitename></siteinfo>
<page><title>Bee</title><ns>0</ns><id>1</id><revision><id>2</id><text>A '''bee''' flies.</text>
</revision></page>
<page><title>Bees</title><ns>0</ns><redirect title="Bee"/><revision><text>#R</text></revision>
</page>
<page><title>Talk:Bee</title><ns>1</ns><revision><text>Hello</text></revision></page>
<page><title>Wasp</title><ns>0</ns><revision><text>A wasp.</text></revision></page>
</mediawiki>"""


def read(path: Path, column: str = "text") -> list[str | bytes]:
    def texts() -> Iterator[str | bytes]:
        for source in file_sources(path, 0, column):
            yield from source.read()

    return list(texts())


def test_txt_is_one_document_or_several(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeffone\ntwo\n")
    assert read(path) == ["one\ntwo\n"]
    path.write_text("one\n<|endoftext|>\ntwo <|endoftext|> inside\n")
    assert read(path) == ["one\n", "two <|endoftext|> inside\n"]


def test_a_long_txt_is_cut_at_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a line of text\n" * 20_000 + "x" * 120_000)
    parts = [str(part) for part in read(path)]
    assert "".join(parts) == path.read_text()
    assert all(len(part) <= PART_CHARACTERS for part in parts)
    assert parts[0].endswith("\n")


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "one"}, {"text": None}, {"text": "two", "id": 3}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    assert read(path) == ["one", "", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": \n', "line 2: not JSON"),
        ('{"text": "a"}\n{"body": "b"}\n', "line 2: no column 'text'; there are 'body'"),
        ('{"text": 5}\n', "line 1: column 'text' holds a int"),
        ("[1]\n", "line 1: expected an object, found a list"),
    ],
)
def test_broken_jsonl_names_the_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read(path)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"body": ["one", None, "two"], "id": [1, 2, 3]}), path)
    assert read(path, "body") == ["one", "", "two"]
    with pytest.raises(UserError, match="no column 'text'; there are 'body', 'id'"):
        read(path)
    with pytest.raises(UserError, match="column 'id' holds a int, not text"):
        read(path, "id")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"a.parquet: not a valid parquet file"):
        read(path, "body")


@pytest.mark.parametrize("name", ["wiki.xml", "wiki.xml.bz2"])
def test_dump_gives_articles_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = PAGES.encode()
    path.write_bytes(bz2.compress(content) if name.endswith("bz2") else content)
    assert read(path) == ["Bee\n\nA '''bee''' flies.", "Wasp\n\nA wasp."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bz2.compress(PAGES.encode())[:-30], r"wiki.xml.bz2: cannot be read"),
        (b"no bz2 at all", r"wiki.xml.bz2: cannot be read"),
        (bz2.compress(PAGES.encode()[:-40]), r"not well-formed XML"),
        (bz2.compress(b"<rss><page/></rss>"), r"begins with <rss>"),
        (bz2.compress(b'<!DOCTYPE m [<!ENTITY a "aaa">]>' + PAGES.encode()), "document type"),
    ],
)
def test_broken_dump(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wiki.xml.bz2"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(path)


def test_folder_has_a_source_for_each_format(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "deep" / "a.txt").write_text("three")
    (tmp_path / "a.html").write_text("<p>one</p>")
    (tmp_path / "ignored.pdf").write_text("x")
    sources = file_sources(tmp_path, 4, "text")
    assert [source.form for source in sources] == ["html_page", "plain"]
    assert {source.group for source in sources} == {4}
    assert read(tmp_path) == [b"<p>one</p>", "two", "three"]


def test_unknown_format_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file that ends in .txt"):
        file_sources(tmp_path, 0, "text")
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(UserError, match=r"a.pdf: no file that ends in"):
        file_sources(tmp_path / "a.pdf", 0, "text")


def test_not_utf_8_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(UserError, match=r"a.txt: not UTF-8 .*0xe9"):
        read(path)
