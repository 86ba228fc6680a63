"""Who goes where: all text once, within limits, by weight, independent of the reading order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.splitting.holdout import Documents
from minigpt_search.data.splitting.splits import HeldOut, choose_held_out
from minigpt_search.data.splitting.train import choose_train

COUNT = 400
SPEC = CorpusSpec(sources=("a", "b"), eval_tokens=2_000)


def choose(
    sizes: Any,
    spec: CorpusSpec = SPEC,
    weights: list[float] | None = None,
    seed: int = 0,
    is_validation: Any = None,
    **columns: Any,
) -> HeldOut:
    sizes = np.asarray(sizes)
    count = len(sizes)
    given = {
        "rows": np.arange(count),
        "sizes": sizes,
        "keys": np.random.default_rng(seed).integers(0, 2**63, count, np.uint64),
        "numbers": np.arange(count),
        "sources": np.arange(count) % 2,
        **columns,
    }
    return choose_held_out(
        spec,
        Documents(**given),
        np.zeros(count, np.bool_) if is_validation is None else is_validation,
        given["sources"],
        weights,
        lambda row: b"x" * int(sizes[row]),
    )


SIZES = np.random.default_rng(1).integers(80, 9_000, COUNT)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=40),
    eval_tokens=st.integers(1, 5_000),
    weighted=st.booleans(),
    parts=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_no_text_is_in_two_splits_and_all_is_accounted_for(
    sizes: list[int], eval_tokens: int, weighted: bool, parts: int, seed: int
) -> None:
    spec = CorpusSpec(sources=("a", "b"), eval_tokens=eval_tokens)
    numbers = np.arange(len(sizes)) // parts
    weights = [1.0, 2.0] if weighted and len(sizes) > 1 else None
    sources = numbers % 2 if weights and numbers[-1] else np.zeros(len(sizes), np.int64)
    weights = weights if len(set(sources.tolist())) == 2 else None
    try:
        held = choose(sizes, spec, weights, seed, numbers=numbers, sources=sources)
    except UserError as error:
        assert sum(sizes) < 4_096 or "too little" in str(error)
        return
    used = [np.zeros(size, np.int64) for size in sizes]
    for pieces in (held.train, *held.splits.values()):
        for row, start, stop in zip(pieces.rows, pieces.starts, pieces.stops, strict=True):
            used[row][start:stop] += 1
    assert max(int(each.max()) for each in used) == 1
    assert held.unused == sum(int((each == 0).sum()) for each in used)
    for pieces in held.splits.values():
        assert pieces.bytes <= max(4 * eval_tokens, 1_024)


def test_a_separator_stands_where_a_document_ends_or_something_is_missing() -> None:
    numbers = np.arange(COUNT) // 4  # each document in four parts
    held = choose(SIZES, numbers=numbers, sources=numbers % 2)
    train = held.train
    for index in range(len(train) - 1):
        row, after = train.rows[index], train.rows[index + 1]
        goes_on = (
            train.stops[index] == SIZES[row]
            and after == row + 1
            and train.starts[index + 1] == 0
            and numbers[row] == numbers[after]
        )
        assert train.closes[index] == (not goes_on)
    assert train.closes[-1]
    assert 0 < train.closes.sum() < len(train)
    # documents stand together
    assert len(np.flatnonzero(np.diff(train.numbers))) == train.documents - 1


def test_weights_and_limits_of_validation() -> None:
    held = choose(SIZES, weights=[1.0, 3.0])
    for pieces in held.splits.values():
        sizes = np.bincount(pieces.rows % 2, pieces.stops - pieces.starts)
        assert sizes[1] / sizes.sum() == pytest.approx(0.75, abs=0.02)
        assert 0.95 * 8_000 <= pieces.bytes <= 8_000
    share = CorpusSpec(sources=("a", "b"), eval_tokens=2_000, validation_share=0.2)
    held = choose(SIZES, share)
    assert held.splits["val"].bytes == pytest.approx(0.2 * SIZES.sum(), rel=0.03)
    assert held.splits["test"].bytes <= 8_000


def test_text_for_validation_is_there_and_nowhere_else() -> None:
    own = np.arange(COUNT) >= 390
    held = choose(SIZES, is_validation=own, sources=own.astype(int))
    assert set(held.splits["val"].rows.tolist()) <= set(range(390, COUNT))
    assert not set(held.train.rows.tolist()) & set(range(390, COUNT))
    assert "--eval-tokens 2000 says" in held.notes[0] or held.notes == []
    small = choose(np.minimum(SIZES, 700), is_validation=own, sources=own.astype(int))
    assert small.splits["val"].rows.tolist() == list(range(390, COUNT)) and small.notes == []
    assert small.splits["val"].closes.all()


def test_a_small_corpus_says_so_and_a_tiny_one_is_refused() -> None:
    held = choose([4_096], sources=np.zeros(1, np.int64))
    assert held.notes[0].startswith("caution: 4,096 bytes are a small corpus")
    assert held.splits["val"].bytes == held.splits["test"].bytes == 512
    with pytest.raises(UserError, match=r"2,000 bytes of text are left, too few"):
        choose([1_000, 1_000])


def test_splits_do_not_depend_on_the_tokens_of_train() -> None:
    some = CorpusSpec(sources=("a", "b"), eval_tokens=2_000, tokens=777, tokenizer="byte")
    one, other = choose(SIZES), choose(SIZES, some)
    keys = np.arange(COUNT, dtype=np.uint64)
    for split in ("val", "test"):
        assert one.splits[split].content_hash(keys) == other.splits[split].content_hash(keys)


def train(
    spec: CorpusSpec, weights: list[float] | None = None, lengths: Any = None
) -> tuple[Any, Any, list[str], Any]:
    pieces = choose(SIZES).train
    count = len(pieces)
    if lengths is None:
        lengths = np.random.default_rng(0).integers(20, 300, count)
    groups = pieces.rows % 2
    return (*choose_train(spec, lengths, groups, weights), groups)


def test_train_is_exactly_as_long_as_asked() -> None:
    everything, taken, notes, _ = train(SPEC)
    assert everything.tolist() == list(range(len(everything))) and notes == []
    some, cut, notes, _ = train(CorpusSpec(sources=("a", "b"), tokens=7_777))
    assert cut.sum() == 7_777
    assert some.tolist() == list(range(len(some)))
    assert cut[:-1].tolist() == taken[: len(some) - 1].tolist()


def test_asking_for_more_than_there_is_keeps_all_and_says_so() -> None:
    _, taken, notes, _ = train(CorpusSpec(sources=("a", "b"), tokens=10_000_000))
    assert taken.sum() == train(SPEC)[1].sum()
    assert len(notes) == 1 and "10,000,000 were asked for: all kept" in notes[0]


def test_what_limits_leave_out_is_said() -> None:
    _, taken, notes, _ = train(CorpusSpec(sources=("a", "b"), tokens=7_777))
    total = train(SPEC)[1].sum()
    assert taken.sum() == 7_777
    assert notes == [f"the sources: 7,777 of {total:,} train tokens are used, by --tokens 7777"]
    _, _, notes, _ = train(SPEC, weights=[5.0, 1.0])
    assert len(notes) == 1 and notes[0].startswith("b: ") and notes[0].endswith("by the weights")


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 3.0], [5.0, 1.0]])
def test_weights_are_shares_of_train_tokens(weights: list[float]) -> None:
    chosen, taken, _, groups = train(SPEC, weights)
    second = taken[groups[chosen] == 1].sum()
    assert second / taken.sum() == pytest.approx(weights[1] / sum(weights), abs=0.001)
    assert (np.diff(chosen) > 0).all()


def test_a_source_that_is_too_small_for_its_weight_is_not_repeated() -> None:
    spec = CorpusSpec(sources=("a", "b"), tokens=40_000)
    chosen, _, notes, _ = train(spec, weights=[1.0, 9.0])
    assert len(set(chosen.tolist())) == len(chosen)
    assert [note[:3] for note in notes] == ["a: ", "b: "] and "none repeated" in notes[1]
