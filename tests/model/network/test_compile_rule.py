"""Which runs have their blocks compiled."""

from __future__ import annotations

import pytest

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.network.compile_rule import is_compiled
from minigpt_search.model.network.compiled import COMPILE_FROM_STEPS
from minigpt_search.model.training import loop
from minigpt_search.model.training.hooks import Hooks


@pytest.mark.parametrize(("steps", "expected"), [(-1, False), (0, True), (1, True)])
def test_long_runs_on_a_gpu_are_compiled(steps: int, expected: bool) -> None:
    total = COMPILE_FROM_STEPS + steps
    assert is_compiled(total, "cuda") == is_compiled(total, "cuda:1") == expected
    assert not is_compiled(total, "cuda", packed=True) and not is_compiled(total, "cpu")


def test_training_asks_the_same_rule(
    monkeypatch: pytest.MonkeyPatch, tiny: RunConfig, corpus: Corpus
) -> None:
    asked: list[tuple[object, ...]] = []

    def rule(total_steps: int, device: str, *, packed: bool = False) -> bool:
        asked.append((total_steps, device, packed))
        return False

    monkeypatch.setattr(loop, "is_compiled", rule)
    run = loop.Run(tiny, corpus, "cpu", None, 1e9, Hooks())
    assert asked == [(run.length.total_steps, "cpu", False)]


@pytest.mark.parametrize(
    ("rule", "triton", "expected"), [(1, 1, True), (1, 0, False), (0, 1, False)]
)
def test_what_the_rule_says_is_compiled_where_triton_runs(
    monkeypatch: pytest.MonkeyPatch,
    tiny: RunConfig,
    corpus: Corpus,
    rule: int,
    triton: int,
    expected: bool,
) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(loop, "is_compiled", lambda *a, **k: bool(rule))
    monkeypatch.setattr(loop, "triton_runs", lambda: bool(triton))
    monkeypatch.setattr(loop, "compile_blocks", lambda model, config: compiled.append(model))
    run = loop.Run(tiny, corpus, "cpu", None, 1e9, Hooks())
    assert compiled == [run.model] * expected
