"""Intervals over documents: by hand, and their coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from minigpt_search.model.records import DocumentLosses
from minigpt_search.search.results.documents import (
    OverDocuments,
    difference_over_documents,
    level_over_documents,
    of_source,
)


def losses(nats: np.ndarray, tokens: np.ndarray) -> DocumentLosses:
    return DocumentLosses(
        nats=tuple(nats.tolist()), tokens=tuple(tokens.tolist()), sources=(0,) * len(nats)
    )


def test_documents_of_equal_size_have_student_s_interval() -> None:
    each = np.array([6.0, 7.0, 7.5, 6.5, 8.0, 7.0, 6.8, 7.2, 7.1, 6.9, 7.4, 6.6])
    found = level_over_documents([losses(100 * each, np.full(12, 100))])
    assert found is not None
    expected = stats.t.interval(0.95, 11, each.mean(), stats.sem(each))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.documents, found.mean) == (12, pytest.approx(each.mean()))


def test_a_difference_is_paired_and_seeds_are_averaged() -> None:
    rng = np.random.default_rng(0)
    tokens, hardness = rng.integers(20, 400, 60), rng.normal(7, 1, 60)
    better, worse = losses(hardness * tokens, tokens), losses((hardness + 0.1) * tokens, tokens)
    found = difference_over_documents([worse], [better])
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    assert found.error == pytest.approx(0, abs=1e-9)
    level = level_over_documents([better, worse])
    assert level is not None
    assert level.mean == pytest.approx((hardness * tokens).sum() / tokens.sum() + 0.05)


def test_too_few_documents_and_other_ones_have_no_interval() -> None:
    few = losses(np.ones(9), np.ones(9, int))
    assert level_over_documents([few]) is None
    many, others = losses(np.ones(20), np.ones(20, int)), losses(np.ones(20), 2 * np.ones(20, int))
    assert difference_over_documents([many], [others]) is None
    assert level_over_documents([many, others]) is None
    assert level_over_documents([]) is None


def test_one_source_s_documents_are_taken_out() -> None:
    found = of_source(DocumentLosses(nats=(1.0, 2.0, 3.0), tokens=(1, 2, 3), sources=(0, 1, 0)), 0)
    assert found == DocumentLosses(nats=(1.0, 3.0), tokens=(1, 3), sources=(0, 0))


@pytest.mark.parametrize("documents", [10, 30, 300])
def test_coverage_with_long_and_short_hard_and_easy_documents(documents: int) -> None:
    """Sizes are lognormal and cut at 500 tokens, as a split's are, and long ones are easier. The
    bounds are three standard errors of 1,000 draws around 92% and 97%."""
    rng = np.random.default_rng(1)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.minimum(rng.lognormal(5, 1, count), 500).astype(int) + 1
        per_token = 8 - 0.2 * np.log(tokens) + rng.normal(0, 0.8, count)
        return per_token * tokens, tokens

    nats, tokens = draw(2_000_000)
    truth, covered = nats.sum() / tokens.sum(), 0
    for _ in range(1000):
        found = level_over_documents([losses(*draw(documents))])
        assert isinstance(found, OverDocuments)
        covered += found.low <= truth <= found.high
    assert (
        920 - 3 * math.sqrt(1000 * 0.92 * 0.08) < covered < 970 + 3 * math.sqrt(1000 * 0.97 * 0.03)
    )
