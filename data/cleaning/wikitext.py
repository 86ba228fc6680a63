"""Wikitext to text. Imported only where there is wikitext: the parser takes a while to import."""

from __future__ import annotations

import re

from minigpt_search.data.cleaning.wikitext_parser import Heading, Prose, read_nodes
from minigpt_search.data.cleaning.wikitext_templates import (
    FUNCTIONS,
    stands_for_text,
    template_text,
)

DROPPED_TAGS = frozenset(
    {"code", "gallery", "imagemap", "math", "pre", "ref", "references", "score", "script", "source"}
    | {"style", "syntaxhighlight", "table", "timeline"}
)
DROPPED_NAMESPACES = frozenset({"file", "image", "category", "media"})
CLOSING_SECTIONS = frozenset(
    {"bibliography", "citations", "discography", "external links", "filmography", "footnotes"}
    | {"further reading", "notes", "notes and references", "references", "see also", "sources"}
    | {"works cited"}
)
"""Titles of sections that hold lists and links, which are no prose."""

_LEFT_BY_TEMPLATES = (
    (re.compile(r"\(\s*(?:[,;:]\s*)*"), "("),
    (re.compile(r"[\s,;]+\)"), ")"),
    (re.compile(r" ?\(\)"), ""),
    (re.compile(r" +([,.;:])"), r"\1"),
)


def wikitext_to_text(markup: str) -> str:
    """The prose of a MediaWiki page: headings as lines of their own; no tables, references,
    files, categories, nor the sections in `CLOSING_SECTIONS`; templates where they stand for text.

    Headings with nothing below them are left out. Parsed by mwparserfromhell.
    """
    parts: list[str] = []
    waiting: list[Heading] = []  # headings that no text has followed yet
    skipping_below = 99  # the level of the closing section that the reading is in; 99: of none
    for node in read_nodes(markup, PROSE):
        if isinstance(node, Heading):
            if node.level > skipping_below:
                continue
            closing = node.title.lower() in CLOSING_SECTIONS
            skipping_below = node.level if closing else 99
            waiting = [heading for heading in waiting if heading.level < node.level]
            waiting += [] if closing else [node]
        elif skipping_below == 99:
            if node.strip() and waiting:
                parts += [f"\n\n{heading.title}\n" for heading in waiting]
                waiting = []
            parts.append(node)
    text = "".join(parts)
    for pattern, replacement in _LEFT_BY_TEMPLATES:
        text = pattern.sub(replacement, text)
    return text


def _is_dropped_template(name: str) -> bool:
    return bool(name) and not stands_for_text(name)


def _tag(name: str, contents: str) -> str:
    if name in DROPPED_TAGS:
        return ""
    return "\n" if name == "br" else contents


def _link(target: str, shown: str | None) -> str:
    namespace, colon, _ = target.partition(":")
    namespace = namespace.strip().lower()
    # a link to another language is two or three small letters and a colon
    if colon and (namespace in DROPPED_NAMESPACES or re.fullmatch(r"[a-z]{2,3}", namespace)):
        return ""
    return target.lstrip(":") if shown is None else shown


PROSE = Prose(
    is_dropped_template=_is_dropped_template,
    is_dropped_tag=DROPPED_TAGS.__contains__,
    functions=FUNCTIONS,
    template=template_text,
    tag=_tag,
    link=_link,
)
"""The text that stands for each kind of markup when an article becomes prose."""
