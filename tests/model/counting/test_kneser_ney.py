"""Tables of counts against the formulas of Chen & Goodman 1999, written out with dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.model.counting.baselines import counting_losses
from minigpt_search.model.counting.kneser_ney import FALLBACK_DISCOUNTS, KneserNey, discounts_of

VOCABULARY = 7


def windows_of(length: int) -> st.SearchStrategy[np.ndarray]:
    tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=length, max_size=length)
    return st.lists(tokens, min_size=1, max_size=12).map(np.array)


def reference(windows: list[list[int]], order: int):
    """p(gram): the interpolated probability of its last token, by recursion over dictionaries."""
    first = 1 if order == 1 else 0
    grams = [tuple(w[i : i + order]) for w in windows for i in range(first, len(w) - order + 1)]
    counts = {order: Counter(grams)}
    for size in range(order - 1, 0, -1):
        before = defaultdict(set)
        for gram in counts[size + 1]:
            before[gram[1:]].add(gram[0])
        counts[size] = Counter({gram: len(left) for gram, left in before.items()})

    def discounts(size: int) -> list[float]:
        n = [sum(c == times for c in counts[size].values()) for times in (1, 2, 3, 4)]
        if min(n) > 0:
            y = n[0] / (n[0] + 2 * n[1])
            found = [1 - 2 * y * n[1] / n[0], 2 - 3 * y * n[2] / n[1], 3 - 4 * y * n[3] / n[2]]
            if all(0 <= d <= k + 1 for k, d in enumerate(found)):
                return found
        return [0.5, 1.0, 1.5]

    def probability(gram: tuple[int, ...]) -> float:
        size = len(gram)
        lower = probability(gram[1:]) if size > 1 else 1 / VOCABULARY
        d = discounts(size)
        after = {g: c for g, c in counts[size].items() if g[:-1] == gram[:-1]}
        total = sum(after.values())
        if not total:
            return lower
        own = counts[size][gram]
        kept = own - d[min(own, 3) - 1] if own else 0.0
        left_over = sum(d[min(c, 3) - 1] for c in after.values())
        return (kept + left_over * lower) / total

    return probability


@pytest.mark.parametrize("order", [1, 2, 3])
@given(windows_of(6), st.data())
def test_probabilities_are_those_of_the_formulas_and_sum_to_one(order, windows, data):
    table = KneserNey(windows, VOCABULARY, order)
    token = st.integers(0, VOCABULARY - 1)
    context = data.draw(st.lists(token, min_size=order - 1, max_size=order - 1))
    grams = np.array([[*context, last] for last in range(VOCABULARY)])
    found = table.probabilities(grams)
    expected = reference(windows.tolist(), order)
    assert found == pytest.approx([expected(tuple(gram)) for gram in grams.tolist()], rel=1e-9)
    assert found.sum() == pytest.approx(1)


def test_discounts_by_hand_and_where_the_counts_say_nothing():
    counts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4])
    assert discounts_of(counts) == pytest.approx((0.5, 1.25, 2.0))  # Y = 8 / (8 + 2·4) = 0.5
    assert discounts_of(np.array([1, 1, 2, 7])) == FALLBACK_DISCOUNTS


def test_a_windows_first_token_has_one_before_it_and_no_gram_reaches_over_its_end():
    counted = np.array([[0, 1, 2, 3], [4, 5, 6, 0]])
    losses = counting_losses(counted, counted, VOCABULARY)
    assert losses["uniform"] == pytest.approx(math.log(VOCABULARY))
    assert {each.shape for each in losses.values()} == {(2, 3)}
    assert (losses["trigram"][:, 0] == losses["bigram"][:, 0]).all()
    over_the_end = KneserNey(counted, VOCABULARY, 2).probabilities(np.array([[3, 4]]))
    unigram = KneserNey(counted, VOCABULARY, 2).levels[0]
    assert over_the_end == unigram.interpolated(np.array([4]), np.array([1 / VOCABULARY]))


def test_with_a_context_of_one_token_the_trigram_is_the_bigram():
    counted = np.array([[0, 1], [1, 2], [0, 1]])
    losses = counting_losses(counted, counted, VOCABULARY)
    assert {each.shape for each in losses.values()} == {(3, 1)}
    assert (losses["trigram"] == losses["bigram"]).all()
