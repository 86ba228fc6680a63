"""Validation text that is in the training text is noticed."""

from __future__ import annotations

from minigpt_search.data.splitting.overlap import overlap

SENTENCES = [f"This is the sentence with the number {n} of a text that goes on" for n in range(100)]


def test_sentences_that_are_in_both_are_counted_by_their_size() -> None:
    train = [". ".join(SENTENCES[:80]), "\n".join(SENTENCES[50:60])]
    assert overlap([". ".join(SENTENCES[80:])], train) == 0
    assert overlap(["\n".join(SENTENCES[:10])], train) == 1
    half = overlap([". ".join([*SENTENCES[70:80], *SENTENCES[80:90]])], train)
    assert 0.49 < half < 0.51


def test_short_parts_say_nothing() -> None:
    assert overlap(["Yes. No. Chapter 1"], ["Yes. No. Chapter 1"]) == 0
    assert overlap([], SENTENCES) == 0
