"""Damaged and tokenized text, mended: examples as they stand in the sources."""

from __future__ import annotations

import doctest

import pytest

from minigpt_search.data.cleaning import repairs
from minigpt_search.data.cleaning.repairs import join_wikitext_2, mend_news


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(repairs).failed == 0


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("a tactical role @-@ playing game", "a tactical role-playing game"),
        ("1 @,@ 234 @.@ 5 metres", "1,234.5 metres"),
        ("( Japanese : 3 , lit . Battle 3 ) , and", "(Japanese: 3, lit. Battle 3), and"),
        ('the " Nameless " , a unit', 'the "Nameless", a unit'),
        ('He said : " Go . "', 'He said: "Go."'),
        ('" Raven " ends " well "', '"Raven" ends "well"'),
        ('an odd " quote', 'an odd " quote'),
        ("the game 's opening , they 're sure , it didn 't", None),
        ("the players ' union", "the players' union"),
        ("between 1990 \u2013 91 and 2001", "between 1990\u201391 and 2001"),
        ("the north \u2013 south line", "the north \u2013 south line"),
        ("cost $ 5 million", "cost $5 million"),
        ("and / or", "and/or"),
    ],
)
def test_wikitext_2_is_joined(tokens: str, text: str | None) -> None:
    expected = text or "the game's opening, they're sure, it didn't"
    assert join_wikitext_2(tokens) == expected


def test_wikitext_2_headings_become_lines() -> None:
    raw = " \n = Bob = \n \n Bob acts . \n \n = = Career = = \n \n = = = 2000 = = = \n He won . \n"
    lines = [line for line in join_wikitext_2(raw).split("\n") if line]
    assert lines == ["Bob", "Bob acts.", "Career", "2000", "He won."]


def test_an_equals_sign_in_a_sentence_is_no_heading() -> None:
    assert join_wikitext_2("if x = y then") == "if x = y then"


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        ('we don"t know', "we don't know"),
        ("they'r here", "they're here"),
        ('"never more important,"?he told us', '"never more important," he told us'),
        ('on DeVos"?nomination and', "on DeVos' nomination and"),
        ('called "The Woods"?in 2012', 'called "The Woods" in 2012'),
        ('the tower "?a deal that', "the tower \u2013 a deal that"),
        ('teams "? or anyone', "teams \u2013 or anyone"),
        ('"\ufffdThis is it," he said', '"This is it," he said'),
        ("a single \ufffd? line", "a single \u2013 line"),
    ],
)
def test_news_are_mended(damaged: str, text: str) -> None:
    assert mend_news(damaged) == text


def test_a_sentence_said_before_is_dropped() -> None:
    again = "This sentence is rather long and comes again and again."
    assert mend_news(f"{again} {again} Short one. Short one.") == f"{again} Short one. Short one."


def test_no_damage_mark_is_left() -> None:
    mended = mend_news('A"?B \ufffd\ufffd. "C"?d S\ufffd\ufffdn \ufffd')
    assert "\ufffd" not in mended
    assert '"?' not in mended
