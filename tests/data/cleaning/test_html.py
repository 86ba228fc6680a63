"""HTML and wikitext to text."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.cleaning.clean import clean_text, normalise
from minigpt_search.data.cleaning.html import fragment_to_text, page_to_text
from minigpt_search.data.cleaning.wikitext import wikitext_to_text
from minigpt_search.data.common.documents import RawDocument

PAGE = """<!doctype html><html><head><title>Bees</title><script>track()</script></head><body>
<nav><a href="/">Home</a> <a href="/shop">Shop</a></nav>
<article><h1>Bees</h1>
<p>The honey bee lives in colonies of many thousands of workers, drones and one queen.</p>
<p>Caf&eacute; gardens with many flowers feed them well into the autumn of each year.</p></article>
<footer>Copyright 2020 Bees Ltd</footer></body></html>"""


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''italic''", "Bold and italic"),
        ("a [[link]], a [[Target|shown]] one", "a link, a shown one"),
        ("[http://example.org a site] here", "a site here"),
        ("fact<ref name=x>Book, p. 3</ref> stands<ref name=x />.", "fact stands."),
        ("{{Infobox|name=A\n|b=[[c]]}}The text", "The text"),
        ("it is {{convert|5|km|mi}} long", "it is 5 km long"),
        ("{{lang|fr|bonjour}} there", "bonjour there"),
        ("1914{{ndash}}18", "1914\u201318"),
        ("by {{w|Ada Lovelace}} and {{w|Charles Babbage|him}}", "by Ada Lovelace and him"),
        ("{{formatnum:1234567}} people, {{formatnum: 5 |R}}", "1234567 people, 5"),
        ("{{formatnum:{{nowrap|1234}}}} of {{uc:abc}}", "1234 of ABC"),
        ("{{nowrap|1=a = b}}, {{nowrap|c {{small|d}}}}", "a = b, c d"),
        ("{{lang-fr|bonjour}}, {{langx|de|Hallo}}", "bonjour, Hallo"),
        (
            "{{As of|2014|3|lc=y}} and {{as of|2014|3|5|df=US}}",
            "as of March 2014 and As of March 5, 2014",
        ),
        ("{{convert|5|to|10|km|mi}}, {{cvt|3|-|4|m}}", "5 to 10 km, 3\u20134 m"),
        ("{{quote|text=To be.|author=S}}{{Quote|Or not.|S}}", "To be.Or not."),
        ("{{abbr|e.g.|for example}} {{ill|Name|de}} {{interlanguage_link|N|fr}}", "e.g. Name N"),
        ("{{circa|1900|1910}}, {{US$|5}}, {{frac|3|1|2}}", "c. 1900 \u2013 c. 1910, US$5, 3 1/2"),
        (
            "{{chem|H|2|O}} in {{HMS|Beagle|1820|6}}{{nbsp}}{{sic|hte}}",
            "H2O in HMS Beagle hte [sic]",
        ),
        ("{{citation needed|date=May 2015}}a{{sfn|B|1995}} {{cite book|title=T}}", "a"),
        ("A ({{IPA|x}}, plural ''As'')", "A (plural As)"),
        ("gone ({{IPA|x}}) now", "gone now"),
        ("before\n{| class=x\n|-\n| cell\n|}\nafter", "before\n\nafter"),
        ("text [[File:A.jpg|thumb|A [[cat]]]][[Category:Cats]][[fr:Chat]]", "text"),
        ("a<!-- hidden --> b &amp; c&nbsp;d", "a b & c d"),
    ],
)
def test_wikitext(wikitext: str, text: str) -> None:
    assert clean_text(RawDocument(0, "wikitext", wikitext)) == text


def test_wikitext_headings() -> None:
    wikitext = (
        "Intro.\n== History ==\n=== Early ===\nOld.\n== Empty ==\n== See also ==\n* [[X]]\n"
        "=== Lists ===\n* Y\n== Legacy ==\nNew."
    )
    lines = [line for line in normalise(wikitext_to_text(wikitext)).split("\n") if line]
    assert lines == ["Intro.", "History", "Early", "Old.", "Legacy", "New."]


def test_page_keeps_the_article_and_drops_what_is_around_it() -> None:
    text = page_to_text(PAGE.encode())
    assert "The honey bee lives in colonies" in text
    assert "Caf\u00e9 gardens" in text
    assert "track()" not in text
    assert "Shop" not in text


def test_page_without_text_is_empty() -> None:
    assert page_to_text(b"") == ""
    assert page_to_text(b"<html><body></body></html>") == ""


@pytest.mark.parametrize(
    "page",
    [
        "The first line of a text.\nAnd a second one.\n\nA third, after a blank line.",
        "Text with a <b>bold</b> word.\n\n<p>A paragraph.\n\nThe rest of it &amp; the end.",
        "<p>The same again.</p><p>The same again.</p>",
        "<html><body><p>Hello.</p></body></html>",
        "<html><body><table><tr><td>Hello</td></tr></table></body></html>",
        '<?xml version="1.0" encoding="utf-8"?><html><body><p>Caf\u00e9.</p></body></html>',
    ],
)
def test_short_and_untagged_pages_keep_all_of_their_text(page: str) -> None:
    every_word = re.sub("<[^>]*>", " ", page.replace("&amp;", "&")).split()
    assert page_to_text(page).split() == every_word
    assert page_to_text(page.encode()).split() == every_word


def test_page_in_another_encoding() -> None:
    page = PAGE.replace("&eacute;", "\u00e9").replace("<head>", '<head><meta charset="iso-8859-1">')
    assert "Caf\u00e9 gardens" in page_to_text(page.encode("latin-1"))


def test_fragment() -> None:
    html = "<p>One &amp; <b>two</b></p><ul><li>three<li>four</ul>five<br>six<script>x()</script>"
    assert fragment_to_text(html).split() == ["One", "&", "two", "three", "four", "five", "six"]
    assert "\n" in fragment_to_text("a<br/>b")
    assert fragment_to_text("in <i>one</i> line") == "in one line"


@given(st.text(alphabet="ab <>&;#=/\"'\n\t\r\0\x0b\x0c\xa0\ufeff"))
def test_fragment_without_marks_is_what_the_parser_makes_of_it(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minigpt_search.data.cleaning.html._MARKS", ("",))  # is in every text
        parsed = fragment_to_text(text)
    assert fragment_to_text(text) == parsed


def test_normalise() -> None:
    assert normalise("e\u0301") == "\u00e9"
    assert normalise("a \t\u00a0b \r\n c\r\n\r\n\r\n\r\nd") == "a b\nc\n\nd"
    assert normalise("so\u00adft\u200b \ufeffx\x00\ufffd") == "soft x"
    assert normalise("  \n ") == ""
    assert normalise("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645").count("\u200c") == 1


def by_expressions(text: str) -> str:
    """The rules of `normalise` one after another, without its short cuts."""
    text = re.sub("\r\n?|\x0b|\x0c|\x1c|\x1d|\x1e|\x85|\u2028|\u2029", "\n", text)
    invisible = "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e"
    text = re.sub(invisible + "\u2060-\u206f\ufeff\ufff9-\ufffd\ue000-\uf8ff]", "", text)
    text = re.sub(r" ?\n ?", "\n", re.sub(r"[^\S\n]+", " ", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def test_no_character_takes_a_wrong_short_cut() -> None:
    codes = (*range(0x2100), *range(0xD800 - 0x100, 0x10100), *range(0x10100, 0x110000, 97))
    for code in codes:
        if not 0xD800 <= code < 0xE000:
            text = unicodedata.normalize("NFC", f"a{chr(code)}b")
            assert normalise(text) == by_expressions(text), hex(code)


@given(st.text(alphabet="ab \n\t\r\xa0\u200b\ufffd"))
def test_no_combination_takes_a_wrong_short_cut(text: str) -> None:
    assert normalise(text) == by_expressions(text)
