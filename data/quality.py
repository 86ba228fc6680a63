"""Rules that tell prose from the rest, with their thresholds and where they were published.

Gopher: Rae et al. 2021 (arXiv 2112.11446), appendix A.1. C4: Raffel et al. 2020 (arXiv 1910.10683),
section 2.2. Both were made for web pages; where a rule is loosened, its description says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.shingles import SHINGLE_WORDS, combine
from data.words import Words

GOPHER = "Gopher, arXiv 2112.11446, appendix A.1.1"
GOPHER_REPETITION = "Gopher, arXiv 2112.11446, table A1"
C4 = "C4, arXiv 1910.10683, section 2.2"

PASSAGE_WORDS = 2 * SHINGLE_WORDS

_CLOSING = "\"'\u201d\u2019)]"
_SENTENCE_END = re.compile(rf"[.!?][{re.escape(_CLOSING)}]*(?:\s|$)")


@dataclass(frozen=True)
class Measures:
    """What the rules look at, found once for each text."""

    text: str
    words: Words

    @property
    def word_count(self) -> int:
        return len(self.words.numbers)

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in self.text.split("\n") if line]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A document that fails `holds` is dropped."""

    name: str
    description: str
    source: str
    holds: Callable[[Measures], bool]


def _word_count(m: Measures) -> bool:
    return 25 <= m.word_count <= 100_000


def _word_length(m: Measures) -> bool:
    return 3 <= m.words.lengths.sum() / m.word_count <= 10


def _symbols(m: Measures) -> bool:
    symbols = m.text.count("#") + m.text.count("...") + m.text.count("\u2026")
    return symbols < 0.1 * m.word_count


def _alphabetic(m: Measures) -> bool:
    return np.count_nonzero(m.words.alphabetic) >= 0.8 * m.word_count


def _stop_words(m: Measures) -> bool:
    return int(np.bitwise_or.reduce(m.words.stop_words)).bit_count() >= 2


def _bullets(m: Measures) -> bool:
    return sum(line.startswith(("\u2022", "- ", "* ")) for line in m.lines) <= 0.9 * len(m.lines)


def _ellipses(m: Measures) -> bool:
    return sum(line.endswith(("...", "\u2026")) for line in m.lines) <= 0.3 * len(m.lines)


def _repeated_lines(m: Measures) -> bool:
    return len(m.lines) - len(set(m.lines)) <= 0.3 * len(m.lines)


def _top_bigram(m: Measures) -> bool:
    limit = 0.2 * len(m.text)
    # One of the pair's words must make up half of that by itself: words are counted more quickly.
    order = np.argsort(m.words.numbers)
    ordered = m.words.numbers[order]
    firsts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(firsts, append=len(ordered))
    if (m.words.lengths[order[firsts]] * counts).max() <= limit / 2:
        return True
    numbers, lengths = m.words.numbers.tolist(), m.words.lengths.tolist()
    length_of = dict(zip(numbers, lengths, strict=True))
    pairs = Counter(zip(numbers, numbers[1:], strict=False))
    (first, second), count = pairs.most_common(1)[0]
    return count == 1 or count * (length_of[first] + length_of[second]) <= limit


def _repeated_passages(m: Measures) -> bool:
    """Share of words in runs of ten that came before."""
    words = len(m.words.shingles) + SHINGLE_WORDS - 1
    if words < 2 * PASSAGE_WORDS:
        return True
    passages = combine((m.words.shingles[:-SHINGLE_WORDS], m.words.shingles[SHINGLE_WORDS:]))
    ordered = np.sort(passages)
    repeats = np.count_nonzero(ordered[1:] == ordered[:-1])
    if PASSAGE_WORDS * repeats <= 0.1 * words:  # even if no two of them overlap
        return True
    first = np.unique(passages, return_index=True)[1]
    edges = np.zeros(words + 1, np.int64)  # +1 where a repeated run begins, -1 after it
    again = np.setdiff1d(np.arange(len(passages)), first)
    edges[again] += 1
    edges[again + PASSAGE_WORDS] -= 1
    return bool(np.count_nonzero(np.cumsum(edges)) <= 0.1 * words)


def _sentences(m: Measures) -> bool:
    return _SENTENCE_END.search(m.text) is not None


def _sentence_share(m: Measures) -> bool:
    in_sentences = 0
    for line in m.lines:
        if line.rstrip(_CLOSING).endswith((".", "!", "?")):  # as most do
            in_sentences += len(line)
        else:
            in_sentences += max((match.end() for match in _SENTENCE_END.finditer(line)), default=0)
    return in_sentences >= 0.5 * len(m.text)


def _placeholders(m: Measures) -> bool:
    return "{" not in m.text and "lorem ipsum" not in m.text.lower()


RULES = (
    Rule(
        name="word_count",
        description="25 to 100,000 words; Gopher's lower limit is 50, but lead sections of "
        "encyclopedia articles and spoken questions are complete at half of that",
        source=GOPHER,
        holds=_word_count,
    ),
    Rule(
        name="word_length",
        description="mean word length 3 to 10 characters",
        source=GOPHER,
        holds=_word_length,
    ),
    Rule(
        name="symbols",
        description="fewer than one `#` or ellipsis in ten words",
        source=GOPHER,
        holds=_symbols,
    ),
    Rule(
        name="alphabetic_words",
        description="80% of the words hold a letter",
        source=GOPHER,
        holds=_alphabetic,
    ),
    Rule(
        name="stop_words",
        description="at least two of: the, be, to, of, and, that, have, with",
        source=GOPHER,
        holds=_stop_words,
    ),
    Rule(
        name="bullet_lines",
        description="at most 90% of the lines begin with a bullet",
        source=GOPHER,
        holds=_bullets,
    ),
    Rule(
        name="ellipsis_lines",
        description="at most 30% of the lines end with an ellipsis",
        source=GOPHER,
        holds=_ellipses,
    ),
    Rule(
        name="repeated_lines",
        description="at most 30% of the lines came before in the document",
        source=GOPHER_REPETITION,
        holds=_repeated_lines,
    ),
    Rule(
        name="top_bigram",
        description="the most frequent pair of words makes up at most 20% of the characters",
        source=GOPHER_REPETITION,
        holds=_top_bigram,
    ),
    Rule(
        name="repeated_passages",
        description="at most 10% of the words are in runs of ten that came before; Gopher counts "
        "characters",
        source=GOPHER_REPETITION,
        holds=_repeated_passages,
    ),
    Rule(
        name="sentences",
        description="a sentence ends in it; C4 asks 3 of a page, but a short article may be one",
        source=C4,
        holds=_sentences,
    ),
    Rule(
        name="sentence_share",
        description="half of the characters stand before the end of a line's last sentence; C4 "
        "removes lines that end otherwise, which would take away headings, and the whole of an "
        "article that is one line",
        source=C4,
        holds=_sentence_share,
    ),
    Rule(
        name="placeholders",
        description="no `{` and no `lorem ipsum`: source code and templates",
        source=C4,
        holds=_placeholders,
    ),
)
"""In the order in which they are tried; a document is counted under the first that it fails."""


def failed_rule(text: str, words: Words) -> str:
    """The name of the first rule that `text`, clean and with those words, does not meet, or ""."""
    measures = Measures(text, words)
    return next((rule.name for rule in RULES if not rule.holds(measures)), "")
