"""Wikitext to text, from the tokens into which mwparserfromhell cuts it.

The parser's first half, which makes the tokens, is written in C; its second half, which builds a
tree of them, takes as long in Python as all the rest. Text needs no tree: tokens are always
nested, so it is read off them in one pass. Most belong to references, tables, templates and
comments, which are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from mwparserfromhell.parser import Parser, tokens
from mwparserfromhell.parser.builder import Builder

_CLOSED_BY: dict[type, tuple[type, ...]] = {
    tokens.TemplateOpen: (tokens.TemplateClose,),
    tokens.TagOpenOpen: (tokens.TagCloseClose, tokens.TagCloseSelfclose),
    tokens.CommentStart: (tokens.CommentEnd,),
}
_AFTER_NAME = (
    *(tokens.TemplateParamSeparator, tokens.TemplateClose),
    *(tokens.TagAttrStart, tokens.TagCloseOpen, tokens.TagCloseSelfclose),
)
_AFTER_PARAMETER = (tokens.TemplateParamSeparator, tokens.TemplateClose)


class Heading(NamedTuple):
    """A heading between the texts of a page."""

    level: int
    title: str


class Prose(NamedTuple):
    """Which text stands for which markup. Names of templates and tags are in small letters."""

    is_dropped_template: Callable[[str], bool]
    """Tells by its name whether a template is dropped, with all that is in it."""
    is_dropped_tag: Callable[[str], bool]
    """Tells by its name whether a tag is dropped, with all that is in it."""
    functions: Collection[str]
    """The names of functions, each with the colon after which its first parameter stands."""
    template: Callable[[str, dict[str, str]], str]
    """Gives the text of a template or function from its name and its parameters, which are called
    "1", "2", ... where they have no name."""
    tag: Callable[[str, str], str]
    """Gives a tag's text from its name and the text in it."""
    link: Callable[[str, str | None], str]
    """Gives a link's text from its target as it is written and the text shown, if there is any."""


def read_nodes(markup: str, prose: Prose) -> Iterator[str | Heading]:
    """The headings of a MediaWiki page, and the text of all other nodes on its highest level."""
    parser = Parser()
    parser._builder = _Pruned(prose)
    found: list[Any] = parser.parse(markup)
    return _Reader(found, prose).nodes()


class _Pruned(Builder):
    """Stands for the parser's second half: removes comments, and what `Prose` drops, from the
    tokens. A template or tag whose name is markup itself is kept."""

    def __init__(self, prose: Prose) -> None:
        super().__init__()
        self._is_dropped: dict[type, Callable[[str], bool]] = {
            tokens.TemplateOpen: prose.is_dropped_template,
            tokens.TagOpenOpen: prose.is_dropped_tag,
            tokens.CommentStart: lambda name: True,
        }

    def build(self, tokenlist: list[Any]) -> list[Any]:
        """Return the tokens that are kept, where the parser's own `build` returns a tree."""
        kept = []
        index = 0
        while index < len(tokenlist):
            token = tokenlist[index]
            is_dropped = self._is_dropped.get(type(token))
            if is_dropped and is_dropped(_name(tokenlist, index)):
                index = _end(tokenlist, index)
            else:
                kept.append(token)
                index += 1
        return kept


def _name(tokenlist: list[Any], opening: int) -> str:
    """The name of what the token at `opening` opens, in small letters; "" if it is markup."""
    match tokenlist[opening + 1 : opening + 3]:
        case [tokens.Text() as name, after] if isinstance(after, _AFTER_NAME):
            return str(name.text.strip().lower())
    return ""  # markup, or an empty comment at the end


def _end(tokenlist: list[Any], opening: int) -> int:
    """The index after the last token of what the token at `opening` opens."""
    opens = type(tokenlist[opening])
    closes = _CLOSED_BY[opens]
    depth, index = 1, opening + 1
    while depth:
        kind = type(tokenlist[index])
        depth += (kind is opens) - (kind in closes)
        index += 1
    return index


class _Reader:
    """Reads tokens from the first to the last, once."""

    def __init__(self, tokenlist: list[Any], prose: Prose) -> None:
        self._tokens, self._index, self._prose = tokenlist, 0, prose
        self._readers: dict[type, Callable[[Any], str]] = {
            tokens.Text: lambda token: token["text"],
            tokens.WikilinkOpen: self._link,
            tokens.ExternalLinkOpen: self._external_link,
            tokens.TagOpenOpen: self._tag,
            tokens.TemplateOpen: self._template,
            tokens.HTMLEntityStart: self._entity,
            tokens.HeadingStart: lambda token: f"\n{self._until(tokens.HeadingEnd)[0].strip()}\n",
            tokens.ArgumentOpen: self._argument,
        }

    def nodes(self) -> Iterator[str | Heading]:
        """Yield the headings, and the text of each other node of the highest level."""
        while self._index < len(self._tokens):
            token = self._next()
            if type(token) is tokens.HeadingStart:
                yield Heading(token.level, self._until(tokens.HeadingEnd)[0].strip())
            else:
                yield self._readers[type(token)](token)

    def _next(self) -> Any:
        self._index += 1
        return self._tokens[self._index - 1]

    def _until(self, *ends: type) -> tuple[str, type]:
        """The text up to the next token of one of these types, which is read too; and its type."""
        parts = []
        while (kind := type(token := self._next())) not in ends:
            # what stands between the parts of a tag's attributes or of an argument is no text
            parts.append(self._readers[kind](token) if kind in self._readers else "")
        return "".join(parts), kind

    def _as_written(self, start: int, text: str) -> str:
        """The markup from the token at `start` to the last one read; `text` is what that gave."""
        written = self._tokens[start : self._index - 1]
        if all(type(token) is tokens.Text for token in written):
            return text
        return str(Builder().build(written))

    def _link(self, _: Any) -> str:
        start = self._index
        text, end = self._until(tokens.WikilinkSeparator, tokens.WikilinkClose)
        target = self._as_written(start, text)
        if end is tokens.WikilinkClose:
            return self._prose.link(target, None)
        start = self._index
        shown, _ = self._until(tokens.WikilinkClose)
        return self._prose.link(target, shown if self._index > start + 1 else None)

    def _external_link(self, _: Any) -> str:
        _, end = self._until(tokens.ExternalLinkSeparator, tokens.ExternalLinkClose)
        if end is tokens.ExternalLinkClose:
            return ""
        return self._until(tokens.ExternalLinkClose)[0]

    def _tag(self, _: Any) -> str:
        start = self._index
        ends = (tokens.TagAttrStart, tokens.TagCloseOpen, tokens.TagCloseSelfclose)
        text, end = self._until(*ends)
        name = self._as_written(start, text).strip().lower()
        while end is tokens.TagAttrStart:
            _, end = self._until(*ends)
        contents = ""
        if end is tokens.TagCloseOpen:
            contents, _ = self._until(tokens.TagOpenClose)
            self._until(tokens.TagCloseClose)
        return self._prose.tag(name, contents)

    def _template(self, _: Any) -> str:
        start = self._index
        text, end = self._until(*_AFTER_PARAMETER)
        name = self._as_written(start, text).strip().lower()
        given: dict[str, str] = {}
        unnamed = 0
        head, colon, first = text.partition(":")
        if colon and (function := f"{head.strip().lower()}:") in self._prose.functions:
            name, given, unnamed = function, {"1": first.strip()}, 1
        while end is tokens.TemplateParamSeparator:
            text, end = self._until(*_AFTER_PARAMETER, tokens.TemplateParamEquals)
            if end is tokens.TemplateParamEquals:
                value, end = self._until(*_AFTER_PARAMETER)
                given[text.strip()] = value.strip()
            else:
                unnamed += 1
                given[str(unnamed)] = text
        return self._prose.template(name, given)

    def _entity(self, _: Any) -> str:
        start = self._index - 1
        while type(self._next()) is not tokens.HTMLEntityEnd:
            pass
        (entity,) = Builder().build(self._tokens[start : self._index]).nodes
        return str(entity.normalize())

    def _argument(self, _: Any) -> str:
        self._until(tokens.ArgumentClose)
        return ""
