"""MinHash decisions against Jaccard similarities computed with sets."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.filtering.near_duplicates import first_of_each, signatures
from minigpt_search.data.filtering.shingles import (
    shingle_hashes,
    shingles,
    split_words,
    word_hashes,
)

VOCABULARY = [f"word{number}" for number in range(5_000)]


def jaccard(one: str, other: str) -> float:
    """Of the sets of 5-grams of lower-case words."""
    grams = []
    for text in (one, other):
        words = re.findall(r"\w+", text.lower())
        grams.append({tuple(words[k : k + 5]) for k in range(max(1, len(words) - 4))})
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def altered(text: str, changes: int, chooser: random.Random) -> str:
    words = text.split()
    for index in chooser.sample(range(len(words)), changes):
        words[index] = chooser.choice(VOCABULARY)
    return " ".join(words)


def kept(texts: list[str]) -> list[bool]:
    return first_of_each(signatures([shingles(text) for text in texts])).tolist()


@pytest.mark.parametrize("changes", [0, 1, 4, 8, 15, 30, 60, 150])
def test_estimates_are_near_the_exact_similarity(changes: int) -> None:
    chooser = random.Random(changes)
    errors = []
    for _ in range(30):
        one = " ".join(chooser.choices(VOCABULARY, k=300))
        other = altered(one, changes, chooser)
        rows = signatures([shingles(one), shingles(other)])
        errors.append((rows[0] == rows[1]).mean() - jaccard(one, other))
    # the standard deviation of one estimate is at most sqrt(1 / 4 / 125) = 0.045
    assert abs(np.mean(errors)) < 0.03
    assert np.abs(errors).max() < 0.2


def test_decisions_follow_the_exact_similarity() -> None:
    chooser = random.Random(1)
    for _ in range(150):
        one = " ".join(chooser.choices(VOCABULARY, k=400))
        other = altered(one, chooser.randint(0, 80), chooser)
        exact = jaccard(one, other)
        if exact > 0.85:
            assert kept([one, other]) == [True, False]
        elif exact < 0.55:
            assert kept([one, other]) == [True, True]


def test_each_cluster_of_many_copies_keeps_its_first(make_prose: Callable[..., str]) -> None:
    chooser = random.Random(2)
    texts, first = [], []
    originals = [" ".join(chooser.choices(VOCABULARY, k=300)) for _ in range(40)]
    for turn in range(5):
        for number, original in enumerate(originals):
            texts.append(original if turn == 0 else altered(original, 3, chooser))
            first.append(turn == 0)
            assert turn == 0 or jaccard(texts[-1], originals[number]) > 0.85
    assert kept(texts) == first


def test_case_and_punctuation_do_not_count() -> None:
    text = "One two three four, five six. Seven eight nine ten eleven?"
    assert kept([text, text.upper().replace(",", ";")]) == [True, False]


def test_short_texts_are_one_shingle() -> None:
    assert len(shingle_hashes(word_hashes("one two"), 5)) == 1
    assert len(shingle_hashes(word_hashes(""), 5)) == 1
    assert len(shingle_hashes(word_hashes("a b c d e f"), 5)) == 2
    assert kept(["one two", "one two", "two one", ""]) == [True, False, True, True]


def test_signatures_do_not_depend_on_the_process_or_the_batch() -> None:
    code = (
        "from minigpt_search.data.filtering.near_duplicates import signatures;"
        "from minigpt_search.data.filtering.shingles import shingles;"
        "print(signatures([shingles('the same text on any machine')]).sum())"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    together = signatures([shingles("another"), shingles("the same text on any machine")])
    assert sums == {f"{together[1].sum()}\n"}
    assert together[1, :3].tolist() == PINNED


PINNED = [1955514009, 614869563, 2226752209]
"""Computed once: a change to the hashes changes every corpus, and must be meant."""


@given(st.text())
def test_words_are_those_of_the_expression(text: str) -> None:
    text = text.encode(errors="ignore").decode()  # no lone surrogates: they have no UTF-8
    assert [word.decode() for word in split_words(text)] == re.findall(r"\w+", text.lower())
