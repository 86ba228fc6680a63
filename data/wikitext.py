"""Wikitext to text. Imported only where there is wikitext: the parser takes a while to import."""

from __future__ import annotations

import re
from typing import Any

from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

from data.wikitext_tokens import parse_without

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
"""Sections of lists and links; an article's prose does not need them."""

TEMPLATE_TEXT = {
    "lang": -1,
    "transl": -1,
    "transliteration": -1,
    "nowrap": 0,
    "nobr": 0,
    "nihongo": 0,
}
"""Templates that stand for one of their own arguments (by position); the others are dropped."""
TEMPLATE_MARKS = {
    "ndash": "\u2013",
    "mdash": "\u2014",
    "snd": " \u2013 ",
    "spaced ndash": " \u2013 ",
    "'": "'",
    "'s": "'s",
}

_LEFT_BY_TEMPLATES = (
    (re.compile(r"\(\s*(?:[,;:]\s*)*"), "("),
    (re.compile(r"[\s,;]+\)"), ")"),
    (re.compile(r" ?\(\)"), ""),
    (re.compile(r" +([,.;:])"), r"\1"),
)


def wikitext_to_text(markup: str) -> str:
    """The prose of a MediaWiki page: headings as lines of their own; no templates, tables,
    references, files, categories, nor the sections in `CLOSING_SECTIONS`.

    Headings with nothing below them are left out. Parsed by mwparserfromhell.
    """
    parts: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings that no text has followed yet
    skipping_below = 99  # the level of the closing section that we are in
    for node in parse_without(markup, _is_dropped_template, DROPPED_TAGS.__contains__).nodes:
        if isinstance(node, nodes.Heading):
            title = _render(node.title).strip()
            if node.level > skipping_below:
                continue
            closing = title.lower() in CLOSING_SECTIONS
            skipping_below = node.level if closing else 99
            waiting = [heading for heading in waiting if heading[0] < node.level]
            waiting += [] if closing else [(node.level, title)]
        elif skipping_below == 99:
            text = _render_node(node)
            if text.strip() and waiting:
                parts += [f"\n\n{heading}\n" for _, heading in waiting]
                waiting = []
            parts.append(text)
    text = "".join(parts)
    for pattern, replacement in _LEFT_BY_TEMPLATES:
        text = pattern.sub(replacement, text)
    return text


def _is_dropped_template(name: str) -> bool:
    return (
        bool(name) and name != "convert" and not (name in TEMPLATE_MARKS or name in TEMPLATE_TEXT)
    )


def _render(code: Wikicode | None) -> str:
    return "".join(_render_node(node) for node in code.nodes) if code else ""


def _render_node(node: Any) -> str:
    match node:
        case nodes.Text():
            return str(node.value)
        case nodes.Wikilink():
            return _render_link(node)
        case nodes.ExternalLink():
            return _render(node.title)
        case nodes.Tag():
            return _render_tag(node)
        case nodes.Template():
            return _render_template(node)
        case nodes.HTMLEntity():
            return node.normalize()
        case nodes.Heading():
            return f"\n{_render(node.title).strip()}\n"
    return ""  # comments, arguments


def _render_link(link: nodes.Wikilink) -> str:
    target = str(link.title)
    namespace, colon, _ = target.partition(":")
    namespace = namespace.strip().lower()
    # a link to another language is two or three small letters and a colon
    if colon and (namespace in DROPPED_NAMESPACES or re.fullmatch(r"[a-z]{2,3}", namespace)):
        return ""
    return _render(link.text) if link.text else target.lstrip(":")


def _render_tag(tag: nodes.Tag) -> str:
    name = str(tag.tag).strip().lower()
    if name in DROPPED_TAGS:
        return ""
    if name == "br":
        return "\n"
    return _render(tag.contents)


def _render_template(template: nodes.Template) -> str:
    name = str(template.name).strip().lower()
    arguments = [argument.value for argument in template.params if not argument.showkey]
    if name in TEMPLATE_MARKS:
        return TEMPLATE_MARKS[name]
    if name == "convert" and len(arguments) >= 2:
        return f"{_render(arguments[0])} {_render(arguments[1])}"
    if name in TEMPLATE_TEXT and arguments:
        return _render(arguments[TEMPLATE_TEXT[name]])
    return ""
