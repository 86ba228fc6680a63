"""What is done with the documents of each source: which rules they go through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.data.common.documents import Source
from minigpt_search.data.corpus.spec import EXACT, KEEP, NEAR, WEB, CorpusSpec


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """The sources, by their numbers, that each step is for. It can be pickled."""

    web: frozenset[int]
    """The sources whose documents are tidied and judged as web text."""
    without_repeats: frozenset[int]
    """Those that lose paragraphs which came before, and documents made of nothing else."""
    exact: frozenset[int]
    """Those that lose documents which came before."""
    near: frozenset[int]
    """Those that lose documents which are nearly the same as one before."""
    encodes_gpt2: bool
    """Whether documents are encoded at once, in GPT-2's tokens."""

    @property
    def needs_gpt2(self) -> bool:
        """Whether GPT-2's encoding is needed, by which words are found too."""
        return self.encodes_gpt2 or bool(self.web | self.near)

    def needs_words(self, source: int) -> bool:
        """Whether the documents of a source are looked up word by word."""
        return source in self.web or source in self.near


def treatment_of(spec: CorpusSpec, sources: Sequence[Source]) -> Treatment:
    """The treatment that `spec` asks for.

    Whole documents that come again are dropped from all sources; repeated paragraphs and near
    duplicates only from those with the rules for web text, unless `spec.duplicates` says otherwise.
    """
    numbers = frozenset(range(len(sources)))
    web = frozenset(n for n in numbers if sources[n].filter == WEB)
    chosen = spec.duplicates
    return Treatment(
        web=web,
        without_repeats=web if chosen in (None, NEAR) else frozenset(),
        exact=frozenset() if chosen == KEEP else numbers,
        near=numbers if chosen == NEAR else frozenset() if chosen in (KEEP, EXACT) else web,
        encodes_gpt2=spec.tokenizer == "gpt2",
    )
