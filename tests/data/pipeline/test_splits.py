"""Who goes where: disjoint, within budget, by weight, and independent of the reading order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.splits import Selection, choose_splits

COUNT = 400


def choose(
    spec: CorpusSpec | None = None, weights: list[float] | None = None, **columns: Any
) -> tuple[dict[str, Selection], list[str]]:
    generator = np.random.default_rng(0)
    table = {
        "kept": np.arange(COUNT),
        "lengths": generator.integers(20, 300, COUNT),
        "keys": generator.integers(0, 2**63, COUNT, np.uint64),
        "sources": np.arange(COUNT) % 3,
        "groups": (np.arange(COUNT) % 3) // 2,  # sources 0 and 1 are of the first group
        **columns,
    }
    spec = spec or CorpusSpec(sources=("a", "b"), eval_tokens=2_000)
    return choose_splits(spec, **table, weights=weights)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(3, 60),
    tokens=st.none() | st.integers(1, 9_000),
    eval_tokens=st.integers(1, 3_000),
    weighted=st.booleans(),
    seed=st.integers(0, 9),
)
def test_splits_are_disjoint_and_within_their_limits(
    count: int, tokens: int | None, eval_tokens: int, weighted: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 300, count)
    groups = np.arange(count) % 2
    spec = CorpusSpec(sources=("a", "b"), tokens=tokens, eval_tokens=eval_tokens)
    selections, _ = choose_splits(
        spec,
        kept=np.arange(count),
        lengths=lengths,
        keys=generator.permutation(count).astype(np.uint64),
        sources=groups,
        groups=groups,
        weights=[1.0, 2.0] if weighted else None,
    )
    rows = np.concatenate([selection.documents for selection in selections.values()])
    assert len(set(rows.tolist())) == len(rows)
    assert all(
        len(selection.documents) for name, selection in selections.items() if name != "train"
    )
    assert (selections["train"].lengths <= lengths[selections["train"].documents]).all()
    if tokens is not None:
        assert selections["train"].tokens <= tokens


def test_everything_is_used_once() -> None:
    selections, notes = choose()
    rows = np.concatenate([selection.documents for selection in selections.values()])
    assert sorted(rows.tolist()) == list(range(COUNT))
    assert notes == []


def test_validation_and_test_sample_every_source() -> None:
    selections, _ = choose()
    for name in ("val", "test"):
        documents = selections[name].documents
        assert 1_600 <= selections[name].tokens <= 2_000
        assert set((documents % 3).tolist()) == {0, 1, 2}


def test_train_is_exactly_as_long_as_asked_and_val_does_not_depend_on_it() -> None:
    everything, _ = choose()
    some, notes = choose(CorpusSpec(sources=("a", "b"), eval_tokens=2_000, tokens=7_777))
    assert some["train"].tokens == 7_777
    assert notes == []
    for name in ("val", "test"):
        assert some[name].documents.tolist() == everything[name].documents.tolist()
    count = len(some["train"].documents)
    assert some["train"].documents.tolist() == everything["train"].documents[:count].tolist()


def test_asking_for_more_than_there_is_keeps_all_and_says_so() -> None:
    spec = CorpusSpec(sources=("a", "b"), eval_tokens=2_000, tokens=10_000_000)
    selections, notes = choose(spec)
    assert selections["train"].tokens == choose()[0]["train"].tokens
    assert len(notes) == 1
    assert "10,000,000 were asked for: all kept" in notes[0]


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 3.0], [5.0, 1.0]])
def test_weights_are_shares_of_train_tokens(weights: list[float]) -> None:
    lengths = np.random.default_rng(0).integers(20, 300, COUNT)
    selections, notes = choose(weights=weights, lengths=lengths)
    train = selections["train"]
    second = train.lengths[(train.documents % 3) == 2].sum()
    assert second / train.tokens == pytest.approx(weights[1] / sum(weights), abs=0.001)
    assert notes == []


def test_a_source_that_is_too_small_for_its_weight_is_not_repeated() -> None:
    spec = CorpusSpec(sources=("a", "b"), eval_tokens=2_000, tokens=30_000)
    selections, notes = choose(spec, weights=[1.0, 9.0])
    train = selections["train"]
    assert len(set(train.documents.tolist())) == len(train.documents)
    assert len(notes) == 1
    assert notes[0].startswith("b: ")


def test_a_small_source_with_a_large_weight_is_mostly_for_training() -> None:
    spec = CorpusSpec(sources=("a", "b"), tokens=20_000)  # 80,000 tokens for each of val and test
    groups = (np.arange(COUNT) % 20 == 0).astype(np.int64)  # b: 20 documents of 400
    lengths = np.full(COUNT, 200)
    columns = {"sources": groups, "groups": groups, "lengths": lengths}
    selections, _ = choose(spec, weights=[1.0, 2.0], **columns)
    own = {
        name: int(chosen.lengths[groups[chosen.documents] == 1].sum())
        for name, chosen in selections.items()
    }
    assert own["train"] == 18 * 200
    assert own["val"] == own["test"] == 200  # a twentieth of it


def test_the_reading_order_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(20, 300, COUNT)
    keys = generator.integers(0, 2**63, COUNT, np.uint64)
    groups = np.zeros(COUNT, np.int64)
    straight, _ = choose(lengths=lengths, keys=keys, sources=groups, groups=groups)
    backward, _ = choose(lengths=lengths[::-1], keys=keys[::-1], sources=groups, groups=groups)
    for name, selection in straight.items():
        assert keys[selection.documents].tolist() == keys[::-1][backward[name].documents].tolist()
