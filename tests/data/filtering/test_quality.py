"""Each quality rule with a text that meets it and one that does not."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from minigpt_search.data.filtering.quality import RULES, Rule, failed_rules
from minigpt_search.data.filtering.text_statistics import text_statistics
from minigpt_search.data.filtering.word_table import WordTable
from minigpt_search.data.tokenizers.gpt2 import get_encoding

PROSE = (
    "The history of the harbour begins with a small market that was held below the castle. "
    "Fishermen came to it from the islands, and what they sold was carried over the hills to the "
    "towns of the valley. A bridge was built in the next century, and with it the town grew."
)
SPEECH = (
    "Will the Minister tell the House when he will publish the report that he has promised to us, "
    "and whether it will name those who have failed?"
)
NUMBERS = "The table of sizes: " + " ".join(str(number) for number in range(200)) + ". To be read."
PASSAGE = "the quick brown fox jumps over the lazy dog and runs away to the river bank. "

CASES = {
    "word_count": (PROSE, "The end of the story."),
    "word_length": (PROSE, "I a m b e " * 30 + "the of to. "),
    "symbols": (PROSE + " #1", PROSE + " #tag" * 30),
    "alphabetic_words": (PROSE, NUMBERS),
    "stop_words": (PROSE, "Click here now! " * 10 + "Great prices, best shops, free gifts. " * 3),
    "bullet_lines": (PROSE, "\n".join(f"- item {k} of the list to be read." for k in range(20))),
    "ellipsis_lines": (PROSE, "\n".join(f"{PROSE} part {k}..." for k in range(4))),
    "repeated_lines": (PROSE, "\n".join(["Read more of the news to be informed."] * 9)),
    "top_bigram": (PROSE, "buy shoes " * 30 + PROSE),
    "repeated_passages": (PROSE + PASSAGE, PROSE + PASSAGE * 5),
    "sentences": (SPEECH, PROSE.replace(".", ";")),
    "sentence_share": (PROSE, PROSE + "\n" + "Home News Sport Weather Shop and Contact\n" * 12),
    "placeholders": (PROSE, PROSE + " function() { return the_end; }"),
}


@pytest.fixture(scope="module")
def table(shared_home: Path) -> WordTable:
    return WordTable(get_encoding(shared_home))


def failed_rule(table: WordTable, text: str) -> str:
    (failed,) = failed_rules([text], table.look_up([text.encode()]))
    return failed


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_rule_tells_its_two_texts_apart(table: WordTable, rule: Rule) -> None:
    texts = CASES[rule.name]
    words = table.look_up([text.encode() for text in texts])
    good, bad = map(rule.holds, text_statistics(texts, words))
    assert good
    assert not bad


def test_prose_meets_all_rules(table: WordTable) -> None:
    assert failed_rule(table, PROSE) == ""
    assert failed_rule(table, SPEECH) == ""


def test_a_hard_wrapped_text_comes_to_the_same_verdict(table: WordTable) -> None:
    texts = [*(text for pair in CASES.values() for text in pair[:1]), SPEECH, PROSE, PROSE[:150]]
    for text in texts:
        paragraphs = text.split("\n")
        plain = "\n\n".join(paragraphs)
        wrapped = "\n\n".join(textwrap.fill(each, 40) for each in paragraphs)
        assert failed_rule(table, wrapped) == failed_rule(table, plain)


def test_the_first_rule_that_fails_is_named(table: WordTable) -> None:
    assert failed_rule(table, "#" * 5) == "word_count"
    assert failed_rule(table, "") == "word_count"


def test_lorem_ipsum_is_a_placeholder(table: WordTable) -> None:
    assert failed_rule(table, PROSE + " LoRem ipsum dolor sit amet.") == "placeholders"


def test_an_article_in_one_line_keeps_its_sentences_though_it_ends_without_a_stop(
    table: WordTable,
) -> None:
    assert failed_rule(table, PROSE + " Reported with Reuters") == ""


def test_rules_cite_their_source() -> None:
    assert all("arXiv" in rule.source and rule.description for rule in RULES)
