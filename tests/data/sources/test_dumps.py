"""MediaWiki dumps: articles only, and what is said of a broken one."""

from __future__ import annotations

import bz2
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError

Read = Callable[..., Any]

PAGES = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">
<siteinfo><sitename>W</sitename></siteinfo>
<page><title>Bee</title><ns>0</ns><id>1</id><revision><id>2</id><text>A '''bee''' flies.</text>
</revision></page>
<page><title>Bees</title><ns>0</ns><redirect title="Bee"/><revision><text>#R</text></revision>
</page>
<page><title>Talk:Bee</title><ns>1</ns><revision><text>Hello</text></revision></page>
<page><title>Wasp</title><ns>0</ns><revision><text>A wasp.</text></revision></page>
</mediawiki>"""


@pytest.mark.parametrize("name", ["wiki.xml", "wiki.xml.bz2"])
def test_dump_gives_articles_only(read: Read, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = PAGES.encode()
    path.write_bytes(bz2.compress(content) if name.endswith("bz2") else content)
    assert read(path).documents == ["Bee\n\nA '''bee''' flies.", "Wasp\n\nA wasp."]


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
def test_broken_dump(read: Read, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wiki.xml.bz2"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(path)
