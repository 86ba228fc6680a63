"""Rules that tell prose from the rest, with their thresholds and where they were published.

Gopher: Rae et al. 2021 (arXiv 2112.11446), appendix A.1. C4: Raffel et al. 2020 (arXiv 1910.10683),
section 2.2. Both were made for web pages; where a rule is loosened, its description says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minigpt_search.data.filtering.shingles import SHINGLE_WORDS, combine
from minigpt_search.data.filtering.text_statistics import (
    PASSAGE_WORDS,
    TextStatistics,
    text_statistics,
)
from minigpt_search.data.filtering.word_table import (
    HAS_LOREM,
    STOP_MARKS,
    Words,
)

GOPHER = "Gopher, arXiv 2112.11446, appendix A.1.1"
GOPHER_REPETITION = "Gopher, arXiv 2112.11446, table A1"
C4 = "C4, arXiv 1910.10683, section 2.2"


_CLOSING = "\"'\u201d\u2019)]"
_SENTENCE_END = re.compile(rf"[.!?][{re.escape(_CLOSING)}]*(?:\s|$)")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule, and where it was published. A document for which `holds` is false is dropped."""

    name: str
    description: str
    source: str
    holds: Callable[[TextStatistics], bool]


def _word_count(stats: TextStatistics) -> bool:
    return 25 <= len(stats.words) <= 100_000


def _word_length(stats: TextStatistics) -> bool:
    return 3 <= stats.characters / len(stats.words) <= 10


def _symbols(stats: TextStatistics) -> bool:
    symbols = stats.text.count("#") + stats.text.count("...") + stats.text.count("\u2026")
    return symbols < 0.1 * len(stats.words)


def _alphabetic(stats: TextStatistics) -> bool:
    return stats.with_letter >= 0.8 * len(stats.words)


def _stop_words(stats: TextStatistics) -> bool:
    return (stats.marks & STOP_MARKS).bit_count() >= 2


def _bullets(stats: TextStatistics) -> bool:
    bullets = sum(line.startswith(("\u2022", "- ", "* ")) for line in stats.lines)
    return bullets <= 0.9 * len(stats.lines)


def _ellipses(stats: TextStatistics) -> bool:
    return sum(line.endswith(("...", "\u2026")) for line in stats.lines) <= 0.3 * len(stats.lines)


def _repeated_lines(stats: TextStatistics) -> bool:
    return len(stats.lines) - len(set(stats.lines)) <= 0.3 * len(stats.lines)


def _top_bigram(stats: TextStatistics) -> bool:
    limit = 0.2 * len(stats.text)
    # One of the pair's words must make up half of that by itself: words are counted more quickly.
    if stats.top_word <= limit / 2:
        return True
    words = stats.words.tolist()
    length_of = dict(zip(words, stats.lengths.tolist(), strict=True))
    pairs = Counter(pairwise(words))
    (first, second), count = pairs.most_common(1)[0]
    return count == 1 or count * (length_of[first] + length_of[second]) <= limit


def _repeated_passages(stats: TextStatistics) -> bool:
    """Whether at most 10% of the words are in runs of ten that came before."""
    words = len(stats.shingles) + SHINGLE_WORDS - 1
    if words < 2 * PASSAGE_WORDS:
        return True
    if PASSAGE_WORDS * stats.repeated_passages <= 0.1 * words:  # even if no two of them overlap
        return True
    passages = combine((stats.shingles[:-SHINGLE_WORDS], stats.shingles[SHINGLE_WORDS:]))
    first = np.unique(passages, return_index=True)[1]
    edges = np.zeros(words + 1, np.int64)  # +1 where a repeated run begins, -1 after it
    again = np.setdiff1d(np.arange(len(passages)), first)
    edges[again] += 1
    edges[again + PASSAGE_WORDS] -= 1
    return bool(np.count_nonzero(np.cumsum(edges)) <= 0.1 * words)


def _sentences(stats: TextStatistics) -> bool:
    return _SENTENCE_END.search(stats.text) is not None


def _sentence_share(stats: TextStatistics) -> bool:
    in_sentences = 0
    for paragraph in stats.paragraphs:
        if paragraph.rstrip(_CLOSING).endswith((".", "!", "?")):  # as most do
            in_sentences += len(paragraph)
        else:
            ends = (match.end() for match in _SENTENCE_END.finditer(paragraph))
            in_sentences += max(ends, default=0)
    return in_sentences >= 0.5 * len(stats.text)


def _placeholders(stats: TextStatistics) -> bool:
    has_lorem = stats.marks & HAS_LOREM and "lorem ipsum" in stats.text.lower()
    return not (has_lorem or "{" in stats.text)


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
        description="half of the characters stand before the end of a paragraph's last sentence; "
        "C4 removes lines that end otherwise, which would take away headings, the lines of a book "
        "as it is printed, and the whole of an article that is one line",
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
"""The rules as they are tried, in order. A document is counted under the first that it fails."""


def failed_rules(texts: Sequence[str], words: Words) -> list[str]:
    """The name of the first rule that each of the clean texts does not meet, or ""."""
    return [
        next((rule.name for rule in RULES if not rule.holds(own)), "")
        for own in text_statistics(texts, words)
    ]
