"""Mending what the makers of two sources did to their text.

WikiText-2 (Merity et al. 2016, arXiv 1609.07843) was cut into tokens by Moses, with `@-@` for what
stood inside a word. The news articles lost the bytes of their curly quotes, dashes and accents.
"""

from __future__ import annotations

import re

# An expression is searched for quickly where it begins with a fixed character, and tried at each
# place where it begins by looking back or with a choice: hence the looking back at the end, the
# space put before a line, and the tests for a character that is mostly not there.
_INSIDE_WORDS = re.compile(r" @([-,.])@ ")
_HEADING = re.compile(r"^((?:= )+)(.*?)((?: =)+)$")
_QUOTE = re.compile(r' "(?= |$)')
_BEFORE_CLITIC = re.compile(r" (?=(?:'(?:s|re|ve|ll|d|m|t)|n't)\b)")
_BEFORE_CLOSING = re.compile(r" +(?=[.,;:!?%)\]}](?:[ \"]|$))")
_OPENING = re.compile(r" ([(\[{$\u00a3\u20ac#]) ")
_YEARS = re.compile(r" \u2013 (?<=\d \u2013 )(?=\d)")
_POSSESSIVE = re.compile(r" '(?<=\ws ')(?= \w)")
_SPACED_SLASH = re.compile(r" / (?<=\w / )(?=\w)")


def join_wikitext_2(text: str) -> str:
    """WikiText-2's tokens as the text they were, as far as that can be told.

    >>> join_wikitext_2('The " role @-@ playing " game ( 2011 ) sold 1 @,@ 000 , it \\'s said .')
    'The "role-playing" game (2011) sold 1,000, it\\'s said.'
    """
    return "\n".join(_join_line(line.strip()) for line in text.split("\n"))


def _join_line(line: str) -> str:
    heading = _HEADING.match(line)
    if heading and len(heading[1]) == len(heading[3]):
        return "\n" + _join_line(heading[2])
    if "@" in line:
        line = _INSIDE_WORDS.sub(r"\1", line)
    if '"' in line:
        line = _close_quotes(line)
    if "'" in line:
        line = _POSSESSIVE.sub("'", _BEFORE_CLITIC.sub("", line))
    line = _BEFORE_CLOSING.sub("", line)
    line = _OPENING.sub(r" \1", " " + line)[1:]
    line = _YEARS.sub("\u2013", line)
    return _SPACED_SLASH.sub("/", line)


def _close_quotes(line: str) -> str:
    """The line with `" a "` as `"a"`: quotes open and close in turn. A line with an odd number of
    them stays as it is."""
    pieces = _QUOTE.split(" " + line)
    if len(pieces) % 2 == 0:
        return line
    joined = pieces[0][1:]
    for number, piece in enumerate(pieces[1:], start=1):
        if number % 2:
            joined += (" " if joined else "") + '"' + piece.removeprefix(" ")
        else:
            joined += '"' + piece
    return joined


_APOSTROPHE = re.compile(r""""(?<=[A-Za-z]")(?=(?:t|s|ve|re|ll|d|m)\b)""")
_CUT_CLITIC = re.compile(r"'r\b(?:(?<=\bthey'r)|(?<=\bwe'r)|(?<=\byou'r))", re.IGNORECASE)
_LOST_AFTER_QUOTE = re.compile('(?:(?<=\\s)|^)"\ufffd+(?=[A-Za-z])')
_LOST_DASH = re.compile(" ?\ufffd+\\?-? ?")
_QUOTE_MARK = re.compile(r'"(\?)?')
_SENTENCE_BREAK = re.compile(r"\s(?<=[.!?\"]\s)\s*(?=[\"A-Z])")
REPEATED_CHARACTERS = 40
"""A sentence that is shorter than this may be repeated within one article."""


def mend_news(text: str) -> str:
    """A news article with its quotes put back, without sentences that lost characters for good or
    that were said before.

    >>> mend_news('"It won"t do,"?he said. Both parties"?leaders agreed.')
    '"It won\\'t do," he said. Both parties\\' leaders agreed.'
    """
    text = _APOSTROPHE.sub("'", text)
    text = _CUT_CLITIC.sub("'re", text)
    if "\ufffd" in text:
        text = _LOST_AFTER_QUOTE.sub('"', text)
        text = _LOST_DASH.sub(" \u2013 ", text)
    return _without_lost_and_repeated(_mend_quote_marks(text))


def _mend_quote_marks(text: str) -> str:
    """`"?` stands for a curly mark and the space after it. Which one is told from what is before it
    and from whether a quotation is open."""
    parts: list[str] = []
    done, is_open = 0, False
    for match in _QUOTE_MARK.finditer(text):
        start, end = match.span()
        before = text[start - 1] if start else " "
        parts.append(text[done:start])
        if not match[1]:
            is_open = before.isspace()
            mark = '"'
        elif before.isspace():
            mark = "\u2013 "
        elif is_open or before in ",.!?":
            mark, is_open = '" ', False
        elif before == "s":
            mark = "' "
        else:
            mark = " \u2013 "
        parts.append(mark)
        done = end + 1 if mark.endswith(" ") and text[end : end + 1] == " " else end
    return "".join([*parts, text[done:]])


def _without_lost_and_repeated(text: str) -> str:
    """The text without sentences that hold a U+FFFD, and without long ones that came before."""
    seen: set[str] = set()
    lines = []
    for line in text.split("\n"):
        kept = []
        for sentence in _SENTENCE_BREAK.split(line):
            if "\ufffd" in sentence or sentence in seen:
                continue
            if len(sentence) >= REPEATED_CHARACTERS:
                seen.add(sentence)
            kept.append(sentence)
        lines.append(" ".join(kept))
    return "\n".join(lines)
