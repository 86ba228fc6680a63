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
