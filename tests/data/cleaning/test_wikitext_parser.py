"""Text read off mwparserfromhell's tokens against the same rules on its tree of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mwparserfromhell
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

from minigpt_search.data.cleaning.wikitext import PROSE
from minigpt_search.data.cleaning.wikitext_parser import Heading, Prose, read_nodes

PIECES = ("word ", "{{", "}}", "|", "[[", "]]", "<ref>", "</ref>", "<ref name=a/>", "''", "<!--")
PIECES += (
    "-->",
    "{|",
    "|}",
    "\n",
    "\n== H ==\n",
    "lang",
    "convert",
    "cite",
    "formatnum:",
    "2=",
    "text",
    "<br>",
    "<i>",
    "</i>",
)
PIECES += (
    "&amp;",
    "&#65;",
    "&#x42;",
    "[http://a.b ",
    "]",
    "{{{",
    "}}}",
    "=",
    "\n* ",
    "File:",
    "'''",
)
PIECES += ("[[A|b]]", "{{lang|fr|c}}", "{{cite|d=e}}", "<ref>f {{cite|g}}</ref>", '<b class="h">')


def on_tree(code: Wikicode | None, prose: Prose) -> str:
    return "".join(node_on_tree(node, prose) for node in code.nodes) if code else ""


def node_on_tree(node: Any, prose: Prose) -> str:
    match node:
        case nodes.Text():
            return str(node.value)
        case nodes.Wikilink():
            shown = on_tree(node.text, prose) if node.text else None
            return prose.link(str(node.title), shown)
        case nodes.ExternalLink():
            return on_tree(node.title, prose)
        case nodes.Tag():
            return prose.tag(str(node.tag).strip().lower(), on_tree(node.contents, prose))
        case nodes.Template():
            head, colon, first = on_tree(node.name, prose).partition(":")
            name, given, unnamed = str(node.name).strip().lower(), {}, 0
            if colon and f"{head.strip().lower()}:" in prose.functions:
                name, given, unnamed = f"{head.strip().lower()}:", {"1": first.strip()}, 1
            for each in node.params:
                value = on_tree(each.value, prose)
                if each.showkey:
                    given[on_tree(each.name, prose).strip()] = value.strip()
                else:
                    unnamed += 1
                    given[str(unnamed)] = value
            return prose.template(name, given)
        case nodes.HTMLEntity():
            return node.normalize()
        case nodes.Heading():
            return f"\n{on_tree(node.title, prose).strip()}\n"
    return ""  # comments, arguments


def nodes_on_tree(markup: str, prose: Prose) -> Iterator[str | Heading]:
    for node in mwparserfromhell.parse(markup).nodes:
        if isinstance(node, nodes.Heading):
            yield Heading(node.level, on_tree(node.title, prose).strip())
        else:
            yield node_on_tree(node, prose)


def joined(found: Iterator[str | Heading]) -> list[str | Heading]:
    """Texts with no heading between them as one: comments are nodes of a tree, too."""
    result: list[str | Heading] = [""]
    for node in found:
        if isinstance(node, str) and isinstance(result[-1], str):
            result[-1] += node
        else:
            result.append(node)
    return result


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@example("<!---->")
def test_tokens_give_the_text_of_the_tree(markup: str) -> None:
    assert joined(read_nodes(markup, PROSE)) == joined(nodes_on_tree(markup, PROSE))
