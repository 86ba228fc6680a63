"""Wikitext to mwparserfromhell's tree, without the parts that are no prose.

The parser's first half, which cuts wikitext into tokens, is written in C; its second half, which
builds the tree, takes ten times as long. Most tokens belong to references, tables, templates and
comments, which would be built only to be thrown away: they are taken out between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mwparserfromhell.parser import Parser, tokens
from mwparserfromhell.parser.builder import Builder
from mwparserfromhell.wikicode import Wikicode

_CLOSED_BY: dict[type, tuple[type, ...]] = {
    tokens.TemplateOpen: (tokens.TemplateClose,),
    tokens.TagOpenOpen: (tokens.TagCloseClose, tokens.TagCloseSelfclose),
    tokens.CommentStart: (tokens.CommentEnd,),
}
_AFTER_NAME = (
    *(tokens.TemplateParamSeparator, tokens.TemplateClose),
    *(tokens.TagAttrStart, tokens.TagCloseOpen, tokens.TagCloseSelfclose),
)

IsDropped = Callable[[str], bool]


def parse_without(markup: str, template: IsDropped, tag: IsDropped) -> Wikicode:
    """The tree of a MediaWiki page without comments, and without the templates and tags for whose
    names (in small letters) `template` and `tag` say so. A name that is markup itself is kept."""
    parser = Parser()
    parser._builder = _Builder({tokens.TemplateOpen: template, tokens.TagOpenOpen: tag})
    return parser.parse(markup)


class _Builder(Builder):
    def __init__(self, is_dropped: dict[type, IsDropped]) -> None:
        super().__init__()
        self._is_dropped = {**is_dropped, tokens.CommentStart: lambda name: True}

    def build(self, tokenlist: list[Any]) -> Wikicode:
        return super().build(self._pruned(tokenlist))

    def _pruned(self, tokenlist: list[Any]) -> list[Any]:
        kept = []
        place = 0
        while place < len(tokenlist):
            token = tokenlist[place]
            is_dropped = self._is_dropped.get(type(token))
            if is_dropped and is_dropped(_name(tokenlist, place)):
                place = _end(tokenlist, place)
            else:
                kept.append(token)
                place += 1
        return kept


def _name(tokenlist: list[Any], opening: int) -> str:
    match tokenlist[opening + 1 : opening + 3]:
        case [tokens.Text() as name, after] if isinstance(after, _AFTER_NAME):
            return str(name.text.strip().lower())
    return ""  # markup, or an empty comment at the end


def _end(tokenlist: list[Any], opening: int) -> int:
    """The place after what the token at `opening` opens: tokens are always nested."""
    opens = type(tokenlist[opening])
    closes = _CLOSED_BY[opens]
    depth, place = 1, opening + 1
    while depth:
        kind = type(tokenlist[place])
        depth += (kind is opens) - (kind in closes)
        place += 1
    return place
