"""Each quality rule with a text that meets it and one that does not."""

from __future__ import annotations

import pytest

from data.quality import RULES, Measures, Rule, failed_rule
from data.shingles import shingles

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


def holds(rule: Rule, text: str) -> bool:
    return rule.holds(Measures(text, shingles(text)))


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_rule_tells_its_two_texts_apart(rule: Rule) -> None:
    good, bad = CASES[rule.name]
    assert holds(rule, good)
    assert not holds(rule, bad)


def test_prose_meets_all_rules() -> None:
    assert failed_rule(PROSE, shingles(PROSE)) == ""
    assert failed_rule(SPEECH, shingles(SPEECH)) == ""


def test_the_first_rule_that_fails_is_named() -> None:
    text = "#" * 5
    assert failed_rule(text, shingles(text)) == "word_count"


def test_lorem_ipsum_is_a_placeholder() -> None:
    text = PROSE + " Lorem ipsum dolor sit amet."
    assert failed_rule(text, shingles(text)) == "placeholders"


def test_an_article_in_one_line_keeps_its_sentences_though_it_ends_without_a_stop() -> None:
    text = PROSE + " Reported with Reuters"
    assert failed_rule(text, shingles(text)) == ""


def test_rules_cite_their_source() -> None:
    assert all("arXiv" in rule.source and rule.description for rule in RULES)
