"""Articles out of a MediaWiki XML dump, streamed: memory does not grow with the dump."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.reading import NotText

CHUNK_BYTES = 1 << 20


def read_dump(stream: IO[bytes], where: str) -> Iterator[str]:
    """Yield the wikitext of each article (namespace 0, no redirects), the title as its first line.

    A dump has no document type declaration, so one that has is refused: entities could be made to
    expand without end. (Expat 2.4.1 and later also limits expansion by itself.)

    Args:
        stream: the uncompressed XML.
        where: how error messages name it.

    Raises:
        UserError: not XML, not a MediaWiki dump, truncated, or with a document type.
    """
    parser: XMLPullParser[Element] = XMLPullParser(events=("start", "end"))
    root: Element | None = None
    prolog = b""
    try:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            if root is None:
                prolog += chunk
                _check_prolog(prolog, where)
            parser.feed(chunk)
            for event, element in _elements(parser):
                if root is None:
                    root = _checked_root(element, where)
                elif event == "end" and _name(element) == "page":
                    yield from _article(element)
                    root.clear()  # what was read is not kept
        parser.close()
    except ParseError as error:
        raise UserError(f"{where}: not well-formed XML ({error}): is the dump complete?") from None


def _elements(parser: XMLPullParser[Element]) -> Iterator[tuple[str, Element]]:
    for event in parser.read_events():
        assert len(event) == 2 and isinstance(
            event[1], Element
        )  # only "start" and "end" were asked
        yield event[0], event[1]


def _check_prolog(prolog: bytes, where: str) -> None:
    start = prolog.find(b"<mediawiki")
    head = prolog if start < 0 else prolog[:start]
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise NotText(f"{where}: has a document type declaration, which no MediaWiki dump has")


def _checked_root(element: Element, where: str) -> Element:
    if _name(element) != "mediawiki":
        raise NotText(
            f"{where}: begins with <{_name(element)}>, a MediaWiki dump begins with <mediawiki>"
        )
    return element


def _article(page: Element) -> Iterator[str]:
    text = page.findtext("{*}revision/{*}text")
    if page.findtext("{*}ns") == "0" and page.find("{*}redirect") is None and text:
        yield f"{page.findtext('{*}title')}\n\n{text}"


def _name(element: Element) -> str:
    """The element's name without its namespace, which differs between versions of the format."""
    return element.tag.rpartition("}")[2]
